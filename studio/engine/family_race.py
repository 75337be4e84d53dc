"""The four families on the same points, trained side by side while somebody looks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from studio.engine.noising import whole
from studio.events import Context, Row

if TYPE_CHECKING:
    from torch import Tensor

    from studio.diffusion.mixture import Mixture

LEAST_SECONDS, MOST_SECONDS = 5, 120
BATCH, RATE, POINTS, TELL_SECONDS = 256, 2e-3, 500, 4.0
FOUND_SHARE, RARE = 0.3, 0.01
"""An island counts as found from this share of its points on; what is rarer than RARE of the true points is no hit."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Standing:
    """One family. points: what it draws; coverage: the share of the islands that it has found; precision: of its points
    that lie where true ones do; steps: that it took."""

    points: tuple[Place, ...]
    coverage: float
    precision: float
    steps: int


@dataclass(frozen=True)
class FamilyRace:
    """The work of training all four for equally many seconds each; `Done` carries a Standing by name, and Rows before
    it the same so far."""

    long: ClassVar[bool] = True
    seconds: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InvalidInput that names the field."""
        object.__setattr__(self, "seconds", whole("seconds", self.seconds, LEAST_SECONDS, MOST_SECONDS))

    def run(self, context: Context) -> dict[str, Standing]:
        """Take turns, a step each for whoever has had the least time, until all have had theirs. Raises Cancelled."""
        import torch

        from studio.diffusion.families import FAMILIES
        from studio.diffusion.mixture import islands

        world, generator = islands(), torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            models = {name: make() for name, make in FAMILIES.items()}
        optimizers = {name: torch.optim.Adam(model.parameters(), RATE) for name, model in models.items()}
        spent, steps, told = dict.fromkeys(models, 0.0), dict.fromkeys(models, 0), 0.0
        while (least := min(spent, key=lambda name: spent[name])) and spent[least] < self.seconds / len(models):
            context.yield_device()
            started = time.monotonic()
            optimizers[least].zero_grad()
            models[least].loss(world.sample(BATCH, generator).float()).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(models[least].parameters(), 1.0)
            optimizers[least].step()
            spent[least], steps[least] = spent[least] + time.monotonic() - started, steps[least] + 1
            if sum(spent.values()) - told >= TELL_SECONDS:
                told = sum(spent.values())
                standings = self._standings(world, models, steps)
                context.emit(Row({"spent_seconds": told, "standings": standings}))
        return self._standings(world, models, steps)

    def _standings(self, world: Mixture, models: dict[str, Any], steps: dict[str, int]) -> dict[str, Standing]:
        """What each draws now."""
        import torch

        found = {}
        for name, model in models.items():
            points = model.sample(POINTS, torch.Generator().manual_seed(self.seed)).double()
            precision, coverage = scores(world, points)
            found[name] = Standing(tuple((float(a), float(b)) for a, b in points), coverage, precision, steps[name])
        return found


def scores(world: Mixture, points: Tensor) -> tuple[float, float]:
    """Precision and coverage of points, (N, 2)."""
    import torch

    true = world.sample(4_000, torch.Generator().manual_seed(0))
    floor = float(world.log_prob(true).quantile(RARE))
    hits = points[world.log_prob(points) >= floor]
    wanted = FOUND_SHARE * world.weights * len(points)
    nearest = world.responsibilities(hits).argmax(1).bincount(minlength=len(world.weights))
    return len(hits) / len(points), float((nearest >= wanted).double().mean())
