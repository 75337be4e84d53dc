"""Rounding to few levels: the uniform quantizer, how its scale is found, and how training passes through it.

    x_hat = s (clip(round(x / s) + z, n, p) - z)                              So et al. (2306.02316)
x: (B, ...), any numbers; s > 0: the step; z: the level of zero, a whole number; n, p: the first and the last level of a
`Grid`. s and z: numbers, or tensors that broadcast against x, (B, 1, ..) for a step of each sample. Inside the range
[s (n - z), s (p - z)] the error is at most s / 2, outside it is cut off; there are 2^b levels at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CANDIDATES = 80
"""How many ranges the search tries; as many as Q-Diffusion (2302.04304) does."""
VALUES_AT_ONCE = 2**18
"""How many values the search rounds at once: they stay in a processor's cache."""
SMALLEST_STEP = 1e-8


@dataclass(frozen=True)
class Grid:
    """The levels low, low + 1, ..., high."""

    low: int
    high: int

    @property
    def levels(self) -> int:
        return self.high - self.low + 1


def unsigned(bits: int) -> Grid:
    """n = 0, p = 2^b - 1: of activations, and of weights with a zero level of their own. 2306.02316"""
    return Grid(0, 2 ** _checked(bits) - 1)


def symmetric(bits: int) -> Grid:
    """p = -n = 2^(b-1) - 1, z = 0: of weights in training. 2306.02316"""
    top: int = 2 ** (_checked(bits) - 1) - 1
    return Grid(-top, top)


def quantized(x: Tensor, s: Tensor | float, z: Tensor | float, grid: Grid) -> Tensor:
    """The level of each value: clip(round(x / s) + z, n, p), halves to even. Whole numbers in x's dtype, like x."""
    return torch.div(x, s).round_().add_(z).clamp_(grid.low, grid.high)


def fake_quantize(x: Tensor, s: Tensor | float, z: Tensor | float, grid: Grid) -> Tensor:
    """x_hat, which has the values of the levels and the dtype of x. No gradient passes."""
    return quantized(x, s, z, grid).sub_(z).mul_(s)


def round_straight_through(x: Tensor) -> Tensor:
    """round(x), whose gradient is taken for 1 everywhere. Bengio et al. (1308.3432)"""
    return x + (x.round() - x).detach()


class _Learned(torch.autograd.Function):
    """x_hat with LSQ's gradients, written out: half the memory and a third of the time of autograd's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, s: Tensor, z: Tensor | float, grid: Grid) -> Tensor:
        v = x / s
        level = v.round().add_(z).clamp_(grid.low, grid.high).sub_(z)  # round(v), or n - z, or p - z
        ctx.save_for_backward(v, level, s)
        ctx.ends = (grid.low - z, grid.high - z)
        return level * s

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        v, level, s = ctx.saved_tensors
        low, high = ctx.ends
        of_x = gradient * ((v >= low) & (v <= high))
        of_s = (gradient * level).sum_to_size(s.shape) - (of_x * v).sum_to_size(s.shape)
        return of_x, of_s, None, None


def lsq(x: Tensor, s: Tensor, z: Tensor | float, grid: Grid) -> Tensor:
    """x_hat with a step that learns.

    d x_hat / d s = round(v) - v inside, n - z below, p - z above, v = x / s; d x_hat / d x = 1 inside, 0 outside
                                                                    LSQ (1902.08153), section 2
    s: a tensor that broadcasts against x, of whose copies the gradients are summed.
    """
    learned: Tensor = _Learned.apply(x, s, z, grid)
    return learned


def lsq_gradient_scale(values: int, grid: Grid) -> float:
    """g = 1 / sqrt(N p), by which a step's gradient is made as small as that of a weight. LSQ (1902.08153), 2.2"""
    return 1 / math.sqrt(values * grid.high)


def scaled_gradient(s: Tensor, factor: float) -> Tensor:
    """s itself, its gradient multiplied. LSQ (1902.08153)"""
    return (s - s * factor).detach() + s * factor


def pact(x: Tensor, alpha: Tensor, z: float, grid: Grid) -> Tensor:
    """Cut at a learned alpha, then round; the rounding teaches alpha nothing.

    y = clip(x, -alpha z / (p - z), alpha), s = alpha / (p - z); d y_hat / d alpha = 1 above alpha and 0 inside
                                                                                   PACT (1805.06085), eq. 1-3
    PACT's own z is 0, for what follows a ReLU; with another one d y_hat / d alpha is -z / (p - z) below. The penalty
    on alpha^2 is the caller's.
    """
    y = _cut(x, alpha, z, grid)
    return y + (fake_quantize(y.detach(), alpha.detach() / (grid.high - z), z, grid) - y.detach())


def nipq(x: Tensor, alpha: Tensor, z: float, grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Cut at a learned alpha, and noise as large as rounding's error in its place; no straight-through estimator.

    y = clip(x, -alpha z / (p - z), alpha) + s u, u ~ U(-1/2, 1/2), s = alpha / (p - z)            NIPQ (2206.00820)
    When the training is over, `fake_quantize` rounds with the same s.
    """
    u = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) - 0.5
    return _cut(x, alpha, z, grid) + alpha / (grid.high - z) * u


def _cut(x: Tensor, alpha: Tensor, z: float, grid: Grid) -> Tensor:
    """clip(x, -alpha z / (p - z), alpha), whose ends pass their gradient to alpha. Raises ValueError without a top."""
    if not grid.high > z >= grid.low:
        raise ValueError(f"z must be from {grid.low} to {grid.high - 1}, below the last level; it is {z:g}")
    return torch.minimum(torch.maximum(x, -alpha * ((z - grid.low) / (grid.high - z))), alpha)


def min_max(low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The step and the zero level whose range holds [low, high], and 0 exactly: s = (high - low) / (p - n).

    low, high: (...), widened to hold 0; returns s and z, (...) each. With a symmetric grid z is 0.
    """
    low, high = low.clamp(max=0), high.clamp(min=0)
    if grid.low < 0:
        s = (torch.maximum(-low, high) / grid.high).clamp(min=SMALLEST_STEP)
        return s, torch.zeros_like(s)
    s = ((high - low) / (grid.high - grid.low)).clamp(min=SMALLEST_STEP)
    return s, (grid.low - low / s).round().clamp(grid.low, grid.high)


def mse_search(
    x: Tensor,
    grid: Grid,
    low: Tensor | None = None,
    high: Tensor | None = None,
    z: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Of the ranges that are a share of the whole one, the one with the smallest mean squared error.

    argmin_{k = 1 .. K} mean (x - x_hat(s_k, z_k))^2, (s_k, z_k) of [k low / K, k high / K], K = CANDIDATES
                                            as in Q-Diffusion (2302.04304) and BRECQ (2102.05426), there with L2.4
    x: (rows, n), each row with a step of its own; low, high: (rows,), the whole range where x is not all of it;
    z: (rows,), where the zero level is given and the step alone is looked for; weights: (rows, n), how much each value
    counts. Returns s and z, (rows,) each.
    """
    low = x.amin(1) if low is None else low
    high = x.amax(1) if high is None else high
    shares = torch.arange(1, CANDIDATES + 1, dtype=x.dtype, device=x.device)[:, None] / CANDIDATES
    s, zeros = min_max(shares * low, shares * high, grid)  # (K, rows)
    if z is not None:
        s, zeros = _step_of(shares * low, shares * high, z, grid), z.expand_as(s)
    at_once = max(1, VALUES_AT_ONCE // x.numel())
    errors = [
        _mean((fake_quantize(x, one[:, :, None], zero[:, :, None], grid) - x).square_(), weights)
        for one, zero in zip(torch.split(s, at_once), torch.split(zeros, at_once), strict=True)
    ]
    best = torch.cat(errors).argmin(0, keepdim=True)  # (1, rows)
    return s.gather(0, best)[0], zeros.gather(0, best)[0]


def _mean(squares: Tensor, weights: Tensor | None) -> Tensor:
    """Over the last axis; weighted, up to a factor of each row."""
    return squares.mean(-1) if weights is None else (squares * weights).sum(-1)


def _step_of(low: Tensor, high: Tensor, z: Tensor, grid: Grid) -> Tensor:
    """The smallest step whose range holds [low, high] when zero is at level z; an end without levels is cut off."""
    below, above = z - grid.low, grid.high - z
    of_low = torch.where(below > 0, -low.clamp(max=0) / below.clamp(min=1), torch.zeros_like(low))
    of_high = torch.where(above > 0, high.clamp(min=0) / above.clamp(min=1), torch.zeros_like(high))
    return torch.maximum(of_low, of_high).clamp(min=SMALLEST_STEP)


def _checked(bits: int) -> int:
    """Raises ValueError for a number of bits that makes no grid."""
    if not 2 <= bits <= 16:
        raise ValueError(f"bits must be from 2 to 16; it is {bits}")
    return bits
