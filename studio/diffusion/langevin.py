"""Sampling from a score alone: small steps uphill, each with noise, at noise levels that fall."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from studio.diffusion.walk import fresh

Score = Callable[[Tensor, float], Tensor]
"""(x, sigma) -> grad log of the density blurred by N(0, sigma^2), like x."""


def annealed_langevin(
    score: Score,
    x: Tensor,
    sigmas: Sequence[float],
    steps: int = 100,
    step_size: float = 2e-5,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Walk `steps` times at each noise level; yields x after each level. x: (B, ...); sigmas: falling, above 0.

    x <- x + a_i / 2 score(x, sigma_i) + sqrt(a_i) z, a_i = step_size sigma_i^2 / sigma_L^2
                                                                           Song and Ermon (1907.05600), algorithm 1
    Raises ValueError unless the levels fall and stay above 0.
    """
    levels = [float(sigma) for sigma in sigmas]
    if not levels or levels[-1] <= 0 or any(a <= b for a, b in pairwise(levels)):
        raise ValueError(f"the noise levels must fall and stay above 0; they are {levels}")
    for sigma in levels:
        a = step_size * (sigma / levels[-1]) ** 2
        for _ in range(steps):
            x = x + a / 2 * score(x, sigma) + math.sqrt(a) * fresh(x, generator)
        yield x


def falling(largest: float, smallest: float, levels: int) -> list[float]:
    """Noise levels in geometric progression. Song and Ermon (1907.05600), section 4."""
    return torch.logspace(math.log10(largest), math.log10(smallest), levels, dtype=torch.float64).tolist()
