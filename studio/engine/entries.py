"""One model in memory as the registry's books have it. Who guards them: see `shelf.py`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from studio.engine.budget import Key, Resident, Storages
from studio.engine.loaders import ComponentSet
from studio.engine.memory import storages
from studio.errors import ModelUnavailable, StudioError
from studio.types import PipelineKey

logger = logging.getLogger(__name__)


class State(Enum):
    """Where a model is on its way."""

    LOADING = "loading"
    """It is being made; its bytes are an estimate."""
    READY = "ready"
    """On the device."""
    MOVING = "moving"
    """Between the device and the machine's memory."""
    PARKED = "parked"
    """In the machine's memory; it moves back before it is used."""


@dataclass(frozen=True)
class Wanted:
    """A model to hold, and how to make it if it is not there. estimate_bytes: what room to make before."""

    key: Key
    estimate_bytes: int
    make: Callable[[], ComponentSet]


@dataclass(eq=False)
class Entry:
    """One model. parked: where it is, or where it is moving to; billed_bytes: what was made of it and is no tensor,
    such as a compiled graph. Once `failure` is set, nobody finds it any more."""

    key: Key
    storages: Storages
    last_used: float
    state: State = State.LOADING
    parked: bool = False
    leases: int = 0
    hits: int = 0
    billed_bytes: int = 0
    value: ComponentSet | None = None
    failure: StudioError | None = None

    @property
    def name(self) -> str:
        """Its id, for who reads a message."""
        if isinstance(self.key, PipelineKey):
            return self.key.base_id
        return f"{self.key.pipeline.base_id} (+{len(self.key.adapters)})"

    @property
    def is_settled(self) -> bool:
        return self.failure is not None or self.state in (State.READY, State.PARKED)

    @property
    def is_leaving(self) -> bool:
        """Whether it is on its way off the device: what it takes there is not free yet."""
        return self.state is State.MOVING and self.parked

    def measure(self) -> None:
        """Count what it takes: its tensors by storage, and what it says it takes beside them."""
        if self.value is None:
            return
        found: dict[Hashable, int] = {**storages(self.value.components.values())}
        beside_bytes = self.value.bytes - sum(found.values())
        if beside_bytes > 0:
            found["beside", self.key] = beside_bytes
        if self.billed_bytes:
            found["billed", self.key] = self.billed_bytes
        self.storages = found


@dataclass
class Leaving:
    """What a plan sends away. Thrown away and moved without the lock."""

    dropped: list[Entry] = field(default_factory=list)
    parking: list[Entry] = field(default_factory=list)


def residents(entries: Iterable[Entry], parks: bool) -> list[Resident]:
    """The entries as the policy sees them. parks: whether models can leave the device without being dropped."""
    return [
        Resident(
            one.key,
            one.storages,
            leased=one.leases > 0 or not one.is_settled,
            last_used=one.last_used,
            parked=one.parked,
            parkable=parks and isinstance(one.key, PipelineKey),
        )
        for one in entries
    ]


def as_told(error: BaseException, name: str) -> StudioError:
    """The error without its traceback, whose frames would keep a half-loaded model in memory."""
    if isinstance(error, StudioError):
        return type(error)(error.key, **error.values)
    logger.error("loading %s failed", name, exc_info=error)
    return ModelUnavailable("load_failed", model=name, reason=type(error).__name__)
