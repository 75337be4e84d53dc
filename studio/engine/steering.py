"""The controls of one request: what they bring into a view, and what they do to it while it draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from studio.engine.loaders import ComponentSet
from studio.types import Control, ControlUse


@dataclass(frozen=True)
class Acting:
    """One control and the uses that a request makes of it, each with the leased set of its model.

    The uses are in the order of their models' hashes, and then in the request's: whatever order adapters were put on
    a clone in, a later request finds them in the same.
    """

    control: Control
    sets: tuple[ComponentSet, ...]
    uses: tuple[ControlUse, ...]

    @classmethod
    def of(cls, control: Control, uses: Iterable[ControlUse], sets: Mapping[str, ComponentSet]) -> Acting:
        ordered = sorted(uses, key=lambda use: sets[use.model_id].sha256)
        return cls(control, tuple(sets[use.model_id] for use in ordered), tuple(ordered))

    @property
    def adapters(self) -> frozenset[str]:
        """What it puts on a clone: its own id, since another control may do otherwise, and each file's hash."""
        if self.control.adapt is None:
            return frozenset()
        return frozenset(f"{self.control.id}:{one.sha256}" for one in self.sets)

    def adapt(self, parts: Mapping[str, Any]) -> None:
        """Put its weights on a clone's parts, each model's once however many uses it has."""
        if self.control.adapt is not None:
            once: dict[str, tuple[ComponentSet, ControlUse]] = {}
            for held, use in zip(self.sets, self.uses, strict=True):
                once.setdefault(held.sha256, (held, use))
            self.control.adapt(parts, *map(list, zip(*once.values(), strict=True)))


@dataclass(frozen=True)
class Steering:
    """All controls of one request, in the order of their ids."""

    acting_controls: tuple[Acting, ...] = ()

    @property
    def count(self) -> int:
        """How many uses of controls."""
        return sum(len(one.uses) for one in self.acting_controls)

    @property
    def adapters(self) -> frozenset[str]:
        """What they put on a clone."""
        return frozenset().union(*(one.adapters for one in self.acting_controls))

    def adapt(self, parts: Mapping[str, Any]) -> None:
        """Put all weights on a clone's parts."""
        for one in self.acting_controls:
            one.adapt(parts)

    def parts(self) -> dict[str, Any]:
        """The further components of a view, by name."""
        given = [(one.control.parts, one) for one in self.acting_controls if one.control.parts is not None]
        return joined([parts(one.sets, one.uses) for parts, one in given])

    @contextmanager
    def acting(self, view: Any) -> Iterator[dict[str, Any]]:
        """Let every control act on the view. Leaving undoes them, the last first, whatever happens."""
        with ExitStack() as stack:
            patches = [stack.enter_context(one.control.patch(view, one.sets, one.uses)) for one in self.acting_controls]
            yield joined(patches)


UNSTEERED = Steering()


def joined(given: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Several controls' parts or arguments as one mapping.

    What one control gives stays as it is. What several give under one name becomes the list of all of it, in their
    order; mappings become one mapping. Raises ValueError where two set the same key of a mapping.
    """
    values: dict[str, list[Any]] = {}
    for one in given:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: several[0] if len(several) == 1 else _united(name, several) for name, several in values.items()}


def _united(name: str, several: list[Any]) -> Any:
    if not all(isinstance(value, Mapping) for value in several):
        return [item for value in several for item in (value if isinstance(value, list) else [value])]
    united: dict[str, Any] = {}
    for mapping in several:
        if taken := united.keys() & mapping.keys():
            raise ValueError(f"two controls set {name}[{min(taken)!r}]")
        united |= mapping
    return united
