"""A walk back from noise by the DDPM on pixels, kept step by step, and one that forks from another's step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from studio.diffusion.parameterisations import Denoiser
from studio.diffusion.samplers import SAMPLERS, SIGMAS, ddpm
from studio.diffusion.schedules import Schedule
from studio.diffusion.walk import Step, spaced
from studio.engine.noising import whole
from studio.engine.pixel import PixelModel
from studio.errors import InvalidInput
from studio.types import MAX_SEED

LOWEST_GAMMA, HIGHEST_GAMMA, MOST_STEPS = -1.0, 8.0, 250
ANY = "any"


@dataclass(frozen=True)
class Walk:
    """One walk. kind: one of the model's classes, or ANY; sigma, noise_at_last: of the sampler "ddpm" alone; clip: cut
    the guess of the clean picture to [-1, 1] at every step."""

    kind: str
    steps: int
    sampler: str
    sigma: str
    gamma: float
    seed: int
    noise_at_last: bool = False
    clip: bool = True

    def __post_init__(self) -> None:
        """Raises InvalidInput that names the field."""
        object.__setattr__(self, "steps", whole("steps", self.steps, 1, MOST_STEPS))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0, MAX_SEED))
        for name, value, choices in (("sampler", self.sampler, SAMPLERS), ("sigma", self.sigma, SIGMAS)):
            if value not in choices:
                raise InvalidInput("not_a_choice", field=name, value=str(value)[:40], choices=", ".join(choices))
        if not isinstance(self.gamma, int | float) or not LOWEST_GAMMA <= self.gamma <= HIGHEST_GAMMA:
            limits = {"minimum": LOWEST_GAMMA, "maximum": HIGHEST_GAMMA}
            raise InvalidInput("bad_number", field="gamma", value=str(self.gamma)[:40], **limits)

    def denoiser(self, model: PixelModel) -> Denoiser:
        """What it asks. Raises InvalidInput for a kind that the model was never told."""
        if self.kind == ANY:
            return model.denoiser(clip=self.clip)
        if self.kind not in model.classes:
            choices = ", ".join((ANY, *model.classes))
            raise InvalidInput("not_a_choice", field="kind", value=str(self.kind)[:40], choices=choices)
        return model.denoiser(torch.tensor([model.classes.index(self.kind)]), float(self.gamma), self.clip)


@torch.inference_mode()
def walked(model: PixelModel, walk: Walk) -> list[Step]:
    """Every step, from noise to picture; pictures (1, 3, side, side)."""
    return list(_steps(model, walk, model.noise(1, walk.seed), spaced(model.schedule.T, walk.steps), walk.seed))


@torch.inference_mode()
def forked(model: PixelModel, walk: Walk, at: int, kind: str, gamma: float, seed: int) -> list[Step]:
    """The same walk for `at` steps, and from there with another kind, guidance and seed of the fresh noise.

    Without fresh noise (every sampler but "ddpm") another seed changes nothing. Raises InvalidInput for a step that
    the walk has not.
    """
    at = whole("fork", at, 1, walk.steps - 1) if walk.steps > 1 else whole("fork", at, 0, 0)
    before = walked(model, walk)[:at]
    x = before[-1].next if before else model.noise(1, walk.seed)
    rest = spaced(model.schedule.T, walk.steps)[at:]
    return [*before, *_steps(model, replace(walk, kind=kind, gamma=gamma, seed=seed), x, rest, seed)]


def _steps(model: PixelModel, walk: Walk, x: Tensor, times: Sequence[int], seed: int) -> Iterator[Step]:
    return sampled(walk, walk.denoiser(model), x, times, model.schedule, seed)


def sampled(
    walk: Walk, denoise: Denoiser, x: Tensor, times: Sequence[int], schedule: Schedule, seed: int
) -> Iterator[Step]:
    """The steps back by a walk's sampler, whatever it asks. seed: of the fresh noise."""
    generator = torch.Generator().manual_seed(seed)
    if walk.sampler == "ddpm":
        return ddpm(denoise, x, times, schedule, generator, walk.sigma, walk.noise_at_last)
    return SAMPLERS[walk.sampler](denoise, x, times, schedule, generator)
