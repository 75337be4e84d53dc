"""Distillation into few steps: where one step of a student leads, and what it must predict to get where many lead.

Salimans & Ho, 2202.00512. Everything here is for models of v = cos(phi) eps - sin(phi) x_0.
"""

from __future__ import annotations

import math

from torch import Tensor


def trailing(steps: int, length: int = 1000) -> list[int]:
    """The times of a sampler with trailing spacing, and the -1 that stands for the end: for 4 steps 999, 749, 499,
    249, -1."""
    return [round(length * (1 - i / steps)) - 1 for i in range(steps + 1)]


def between(now: int, then: int, substeps: int) -> list[int]:
    """Times from `now` to `then`, both among them."""
    return [round(now + (then - now) * i / substeps) for i in range(substeps + 1)]


class Angles:
    """Where on the circle a time is: x_t = cos(phi) x_0 + sin(phi) eps, v = cos(phi) eps - sin(phi) x_0.

    A DDIM step turns x_t towards -v (2202.00512, appendix D): x_s = cos(d) x_t - sin(d) v with d = phi_t - phi_s.
    """

    def __init__(self, alpha_bar: Tensor) -> None:
        """alpha_bar: (T,). The end, time -1, has the first one's, as diffusers' schedulers without
        `set_alpha_to_one` have it."""
        self._angles = alpha_bar.double().sqrt().acos().tolist()

    def _turn(self, now: int, then: int) -> tuple[float, float]:
        d = self._angles[now] - self._angles[max(then, 0)]
        return math.cos(d), math.sin(d)

    def step(self, x: Tensor, v: Tensor, now: int, then: int) -> Tensor:
        """x at the time `then`; x, v: (B, C, h, w) at the time `now`."""
        cos, sin = self._turn(now, then)
        return cos * x - sin * v

    def velocity(self, x: Tensor, target: Tensor, now: int, then: int) -> Tensor:
        """The v with which `step` comes from x to the target."""
        cos, sin = self._turn(now, then)
        return (cos * x - target) / sin
