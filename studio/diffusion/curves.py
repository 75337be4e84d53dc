"""A curve through points that stays between them."""

from __future__ import annotations

import torch
from torch import Tensor


def monotone(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """The cubic through monotone points that is monotone itself: no overshoot between two of them.

    h(s) = (1 + 2s)(1 - s)^2 y_k + s (1 - s)^2 w m_k + s^2 (3 - 2s) y_{k+1} + s^2 (s - 1) w m_{k+1}, s in [0, 1]
    on each interval of width w; slopes m by Fritsch and Butland (1984) after Fritsch and Carlson (1980).
    x, y: (K,) with rising x, K >= 2; at: (N,) within [x_0, x_{K-1}]; returns (N,).
    """
    width, slope = x.diff(), y.diff() / x.diff()
    m = torch.cat([slope[:1], _slopes(width, slope), slope[-1:]])
    if len(x) > 2:
        m[0] = _end_slope(width[0], width[1], slope[0], slope[1])
        m[-1] = _end_slope(width[-1], width[-2], slope[-1], slope[-2])
    k = (torch.searchsorted(x, at, right=True) - 1).clamp(0, len(x) - 2)
    s, w = (at - x[k]) / width[k], width[k]
    left = (1 + 2 * s) * (1 - s) ** 2 * y[k] + s * (1 - s) ** 2 * w * m[k]
    right = s**2 * (3 - 2 * s) * y[k + 1] + s**2 * (s - 1) * w * m[k + 1]
    return left + right


def _slopes(width: Tensor, slope: Tensor) -> Tensor:
    """At the inner points: the weighted harmonic mean of both sides, or 0 where one of them is flat. (K - 2,)"""
    before, after = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    flat = slope[:-1] * slope[1:] <= 0
    safe_left, safe_right = (torch.where(flat, torch.ones_like(s), s) for s in (slope[:-1], slope[1:]))
    mean = (before + after) / (before / safe_left + after / safe_right)
    return torch.where(flat, torch.zeros_like(mean), mean)


def _end_slope(w0: Tensor, w1: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """At an end: three points, cut back where that would overshoot."""
    m = ((2 * w0 + w1) * d0 - w0 * d1) / (w0 + w1)
    if m * d0 <= 0:
        return torch.zeros_like(m)
    return 3 * d0 if d0 * d1 <= 0 and m.abs() > 3 * d0.abs() else m
