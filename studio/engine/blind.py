"""Which is the quantized one? Pairs of pictures from the same noise, to be told apart by a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from studio.engine.comparison_subjects import FULL, Subject, require_for
from studio.events import Context, Step

if TYPE_CHECKING:
    from PIL.Image import Image

ROUNDS = 10


@dataclass(frozen=True)
class Pair:
    """Of one seed: the picture in full precision, and the quantized one."""

    full: Image = field(repr=False)
    quantized: Image = field(repr=False)


@dataclass(frozen=True)
class Game:
    """What is played with."""

    quant_id: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class BlindGame:
    """The work of drawing ROUNDS pairs; `Done` carries a Game. Emits Loading, and a Step for each picture."""

    long: ClassVar[bool] = True
    subject: Subject
    quant_id: str
    rounds: int = ROUNDS

    def run(self, context: Context) -> Game:
        """Raises as a comparison."""
        require_for(self.subject, self.quant_id, context)
        full, quantized = (list(self._pictures(one, context)) for one in (FULL, self.quant_id))
        return Game(self.quant_id, tuple(map(Pair, full, quantized)))

    def _pictures(self, quant_id: str, context: Context) -> Iterator[Image]:
        """One variant's pictures, all of them after each other: the other one may not fit beside it."""
        before = 0 if quant_id == FULL else self.rounds
        for index in range(self.rounds):
            context.yield_device()
            with context.registry.lane, self.subject.further(index).open(quant_id, context) as variant:
                yield variant.draw(None)
            context.emit(Step(before + index + 1, 2 * self.rounds))
