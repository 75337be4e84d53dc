"""What a way back from noise is made of: its steps, the times it visits, and the noise it draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor

from studio.diffusion.parameterisations import Denoiser
from studio.diffusion.schedules import Schedule

Spacing = Literal["trailing", "leading", "linspace"]


@dataclass(frozen=True, eq=False)
class Step:
    """One step back from t to t_next. x0, eps: what was guessed at xt; next: the picture at t_next. All (B, ...)."""

    t: int
    t_next: int
    xt: Tensor
    x0: Tensor
    eps: Tensor
    next: Tensor


class Sampler(Protocol):
    """What every sampler is called like; its own options are keywords with defaults."""

    def __call__(
        self,
        denoise: Denoiser,
        x: Tensor,
        timesteps: Sequence[int],
        schedule: Schedule,
        generator: torch.Generator | None = None,
    ) -> Iterator[Step]: ...


def spaced(T: int, steps: int, spacing: Spacing = "trailing") -> list[int]:
    """Which times are visited, falling. Lin et al. (2305.08891), table 2; "trailing" begins at the last one.

    Raises ValueError unless 1 <= steps <= T.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"steps must be from 1 to {T}; it is {steps}")
    match spacing:
        case "trailing":
            return [round(T - i * T / steps) - 1 for i in range(steps)]
        case "leading":
            return [i * (T // steps) for i in reversed(range(steps))]
        case "linspace":
            return [round(i * (T - 1) / max(steps - 1, 1)) for i in reversed(range(steps))]
    raise ValueError(f"spacing must be trailing, leading or linspace; it is {spacing}")


def last(steps: Iterator[Step]) -> Tensor:
    """Walk to the end: the finished picture. Raises ValueError without a single step."""
    x: Tensor | None = None
    for step in steps:
        x = step.next
    if x is None:
        raise ValueError("there is no timestep to visit")
    return x


def pairs(timesteps: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each time with the one after it; the last leads to -1. Raises ValueError unless they fall."""
    times = [int(t) for t in timesteps]
    steps = [*pairwise(times), *((t, -1) for t in times[-1:])]
    if any(t <= following for t, following in steps):
        raise ValueError(f"the timesteps must fall, and not below 0; they are {times}")
    yield from steps


def eps_of(x: Tensor, x0: Tensor, alpha_bar: float) -> Tensor:
    """The noise that goes with a guessed picture: (x - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar)."""
    return (x - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)


def fresh(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """N(0, I) like `like`, drawn where the generator lives."""
    device = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device).to(like.device)
