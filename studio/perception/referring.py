"""What a picture took over from the references that it was drawn after: their style, and what it should have left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from studio.perception.network import ALL_KINDS, ALL_STYLES, Reading
from studio.world import lexicon
from studio.world.wish import Wish, parse

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.perception.measure import Mark

PERSON = "person"
SEEN = 0.5
"""From this confidence on something counts as seen."""


class Sees(Protocol):
    """Whoever reads pictures."""

    def read(self, pictures: Sequence[Image]) -> Reading: ...

    def obedience(self, prompt: str, pictures: Sequence[Image]) -> list[tuple[Mark, ...]]: ...


@dataclass(frozen=True)
class Reference:
    """What is measured of pictures that are drawn after references. style: that of the reference that weighs most;
    strangers: kinds of things that references show and the prompt does not ask for, and PERSON likewise."""

    prompt: str
    style: str
    strangers: tuple[str, ...]

    @classmethod
    def of(cls, eye: Sees, prompt: str, references: Sequence[Image], weights: Sequence[float]) -> Reference:
        """references, weights: one or more, as many of both."""
        reading = eye.read(references)
        first = max(range(len(references)), key=lambda place: weights[place])
        shown = {one for place in range(len(references)) for one in _seen(reading, place)}
        style = ALL_STYLES[int(reading.style[first].argmax())]
        return cls(prompt, style, tuple(sorted(shown - _asked(parse(prompt)))))

    def judged(self, eye: Sees, picture: Image) -> Judged:
        """What became of a picture."""
        reading = eye.read([picture])
        held = [mark.holds for mark in eye.obedience(self.prompt, [picture])[0]]
        there = set(_seen(reading, 0))
        return Judged(
            style=float(reading.style[0].softmax(0)[ALL_STYLES.index(self.style)]),
            has_style=ALL_STYLES[int(reading.style[0].argmax())] == self.style,
            held=sum(held),
            asked=len(held),
            leaked=tuple(one for one in self.strangers if one in there),
            could_leak=len(self.strangers),
        )


@dataclass(frozen=True)
class Judged:
    """style: the eye's confidence in the reference's style; held of asked: wishes of the prompt; leaked of could_leak:
    what references show and nobody asked for."""

    style: float
    has_style: bool
    held: int
    asked: int
    leaked: tuple[str, ...]
    could_leak: int

    @property
    def shares(self) -> dict[str, float | None]:
        """The three as shares; None where there is nothing to measure."""
        prompt = self.held / self.asked if self.asked else None
        leak = len(self.leaked) / self.could_leak if self.could_leak else None
        return {"style": self.style, "prompt": prompt, "leak": leak}


def name_of(stranger: str, language: str) -> str:
    """A kind of thing, or somebody, as a language calls it."""
    if stranger == PERSON:
        return lexicon.PERSON_NAMES[language][0]
    return lexicon.KIND_NAMES[language][stranger][0]


def style_name(style: str, language: str) -> str:
    return lexicon.STYLE_NAMES[language][style][0]


def _seen(reading: Reading, place: int) -> Iterator[str]:
    """The kinds that the eye sees in one of the pictures, and PERSON."""
    likely = reading.kinds[place].sigmoid().tolist()
    yield from (kind for kind, confidence in zip(ALL_KINDS, likely, strict=True) if confidence > SEEN)
    if float(reading.person[place].sigmoid()) > SEEN:
        yield PERSON


def _asked(wish: Wish) -> set[str]:
    return {thing.kind for thing in wish.things} | ({PERSON} if wish.person else set())
