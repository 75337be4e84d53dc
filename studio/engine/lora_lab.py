"""Work that looks into LoRAs: pictures of one that is cut to lower ranks, and where a budget of numbers learns most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from studio.engine.generate import with_models
from studio.engine.lora_tags import CONTROL_ID
from studio.engine.strengths import draw
from studio.errors import InvalidInput
from studio.events import Context, Row, Step
from studio.types import GenerationRequest

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.diffusion.lora_budget import Spent
    from studio.diffusion.lora_keys import Shape
    from studio.diffusion.lora_ledger import Ledger

RANKS = (1, 2, 4, 0)
"""0: not cut."""
LEDGER_RANKS = (4, 8, 32)


@dataclass(frozen=True)
class RankPoint:
    """A rank, 0 for the whole, and the picture of it."""

    rank: int
    picture: Image = field(repr=False)


@dataclass(frozen=True)
class RankSweep:
    """The work of drawing one request with its LoRAs cut to several ranks; `Done` carries RankPoints."""

    long: ClassVar[bool] = True
    request: GenerationRequest
    ranks: tuple[int, ...] = RANKS

    def run(self, context: Context) -> tuple[RankPoint, ...]:
        """Raises Cancelled, GenerationFailed, ModelUnavailable, or InvalidInput for a request without LoRAs."""
        if not any(use.control_id == CONTROL_ID for use in self.request.controls):
            raise InvalidInput("lora_nothing_chosen", field="lora")
        points = []
        for index, rank in enumerate(self.ranks, start=1):
            wish = self._cut(rank)
            points.append(RankPoint(rank, with_models(wish, context, partial(draw, wish, context=context))))
            context.emit(Step(index, len(self.ranks), (points[-1].picture,)))
        return tuple(points)

    def _cut(self, rank: int) -> GenerationRequest:
        uses = (
            replace(use, options={**use.options, "rank": rank}) if use.control_id == CONTROL_ID else use
            for use in self.request.controls
        )
        return replace(self.request, num_images=1, controls=tuple(uses))


@dataclass(frozen=True)
class BudgetTrial:
    """The work of spending one budget of trained numbers in several ways; `Done` carries `lora_budget.Spent`."""

    seed: int = 0

    def run(self, context: Context) -> tuple[Spent, ...]:
        """Raises Cancelled. Emits a Row and a Step for each way."""
        from studio.diffusion.lora_budget import SPREADS, spend

        found: list[Spent] = []
        for index, where in enumerate(SPREADS, start=1):
            context.check_cancelled()
            found += spend(seed=self.seed, spreads=[where])
            context.emit(Row({"where": "+".join(where), "rank": found[-1].rank, "loss": found[-1].loss}))
            context.emit(Step(index, len(SPREADS)))
        return tuple(found)


def ledgers(modules: Mapping[str, Shape]) -> dict[int, Ledger]:
    """Bytes of a training step of all weights of a network, under 0, and of patches on all of them, by their rank."""
    from studio.diffusion.lora_ledger import full_ledger, lora_ledger

    numbers = sum(map(math.prod, modules.values()))
    shapes = [(weight[0], math.prod(weight[1:])) for weight in modules.values()]
    return {0: full_ledger(numbers), **{rank: lora_ledger(numbers, shapes, rank) for rank in LEDGER_RANKS}}
