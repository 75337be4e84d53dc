"""Guidance on the plane, where the truth is known: what arrows say, what is sampled, and what is said to be sampled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from studio.diffusion import guidance
from studio.diffusion.mixture import islands
from studio.diffusion.samplers import SAMPLERS
from studio.diffusion.schedules import cosine
from studio.diffusion.walk import last, spaced
from studio.errors import InvalidInput

EDGE, GRID, CELLS, T = 2.2, 13, 72, 400
STEPS, POINTS = 60, 700
LOWEST_GAMMA, HIGHEST_GAMMA, CLASSES = -1.0, 8.0, 3
SAMPLER_NAMES = ("ddim", "ddpm", "euler", "heun", "dpmpp_2m")


@dataclass(frozen=True)
class Plane:
    """places: (G, 2) of the arrows; plain, conditional, classifier, guided: scores there, (G, 2), of the world noised
    to t; identity: how far the two sides of Bayes' rule are apart; tilted, true: densities on CELLS x CELLS, row 0 at
    the top, of p(x) p(y | x)^gamma and p(x | y); drawn: (POINTS, 2), what a sampler really draws; inside: the share of
    them in the wished class; spread: their standard deviation against that of the class itself."""

    places: Tensor
    plain: Tensor
    conditional: Tensor
    classifier: Tensor
    guided: Tensor
    identity: float
    tilted: Tensor
    true: Tensor
    drawn: Tensor
    inside: float
    spread: float


def plane(label: int, gamma: float, t: int, sampler: str, seed: int) -> Plane:
    """All of it for one wish. Raises InvalidInput that names the field."""
    if not isinstance(gamma, int | float) or not LOWEST_GAMMA <= gamma <= HIGHEST_GAMMA:
        limits = {"minimum": LOWEST_GAMMA, "maximum": HIGHEST_GAMMA}
        raise InvalidInput("bad_number", field="gamma", value=str(gamma)[:40], **limits)
    if sampler not in SAMPLER_NAMES:
        raise InvalidInput("not_a_choice", field="sampler", value=str(sampler)[:40], choices=", ".join(SAMPLER_NAMES))
    world, schedule = islands(), cosine(T)
    noised = world.noised(schedule.alpha_bar(t))
    places = grid(GRID).reshape(-1, 2)
    plain, conditional = noised.score(places), noised.given(label).score(places)
    classifier = guidance.classifier_gradient(lambda x: noised.log_class_prob(x, label), places)
    cells = grid(CELLS).reshape(-1, 2)
    tilted = world.tilted_log_prob(cells, label, gamma).reshape(CELLS, CELLS)
    drawn = sampled(label, gamma, sampler, seed)
    given = world.given(label)
    spread = float(drawn.std(0).mean() / given.moments()[1].diag().sqrt().mean())
    inside = float((world.labels[world.responsibilities(drawn).argmax(1)] == label).double().mean())
    return Plane(
        places,
        plain,
        conditional,
        classifier,
        guidance.classifier_free(plain, conditional, gamma),
        float((plain + classifier - conditional).abs().max()),
        (tilted - tilted.max()).exp().flip(0),
        given.log_prob(cells).reshape(CELLS, CELLS).exp().flip(0),
        drawn,
        inside,
        spread,
    )


def truth() -> Tensor:
    """The density of the whole world, on CELLS x CELLS, row 0 at the top."""
    return islands().log_prob(grid(CELLS).reshape(-1, 2)).reshape(CELLS, CELLS).exp().flip(0)


def grid(count: int) -> Tensor:
    """Evenly spread places, (count, count, 2), the first row the lowest."""
    line = torch.linspace(-EDGE, EDGE, count, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1)


def sampled(label: int, gamma: float, sampler: str, seed: int, count: int = POINTS) -> Tensor:
    """What a sampler draws from the exact denoisers under guidance. (count, 2)"""
    world, schedule = islands(), cosine(T)
    denoise = guidance.guided(world.denoiser(schedule), world.given(label).denoiser(schedule), gamma)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return last(SAMPLERS[sampler](denoise, x, spaced(T, STEPS), schedule, generator))
