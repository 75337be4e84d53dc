"""A low-rank patch of a weight: two thin matrices beside a frozen one.

W: (out, in); A: (r, in), Gaussian at first; B: (out, r), zero at first, so that nothing changes at first.
The patch is linear: alpha / r B A. It can be added into W and taken off again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LowRank:
    """A patch alpha / r B A. down: A, (r, in); up: B, (out, r). Raises ValueError where they do not fit."""

    down: Tensor
    up: Tensor
    alpha: float

    def __post_init__(self) -> None:
        if self.down.ndim != 2 or self.up.ndim != 2 or self.down.shape[0] != self.up.shape[1] or not self.rank:
            raise ValueError(f"A (r, in) and B (out, r) do not fit: {tuple(self.down.shape)}, {tuple(self.up.shape)}")

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scaling(self) -> float:
        """alpha / r. Hu et al. (2106.09685), section 4.1"""
        return self.alpha / self.rank

    def delta(self) -> Tensor:
        """Delta W = alpha / r B A. (out, in), of rank r at most"""
        return self.scaling * self.up @ self.down

    def __call__(self, x: Tensor) -> Tensor:
        """What the patch adds to W x, without ever forming Delta W. (..., in) -> (..., out)"""
        return self.scaling * F.linear(F.linear(x, self.down), self.up)


def initial(
    out_features: int, in_features: int, rank: int, alpha: float, generator: torch.Generator | None = None
) -> LowRank:
    """A ~ N(0, 1 / r), B = 0: Delta W = 0. Hu et al. (2106.09685), section 4.1."""
    down = torch.randn(rank, in_features, generator=generator) / math.sqrt(max(rank, 1))
    return LowRank(down, torch.zeros(out_features, rank), alpha)


def patched(x: Tensor, weight: Tensor, patch: LowRank, scale: float = 1.0) -> Tensor:
    """h = W x + scale alpha / r B A x; at scale 0 it is W x itself.        Hu et al. (2106.09685), eq. 3

    x: (..., in); weight: (out, in); returns (..., out)
    """
    base = F.linear(x, weight)
    return base if scale == 0 else base + scale * patch(x)


def merged(weight: Tensor, patch: LowRank, scale: float = 1.0) -> Tensor:
    """W + scale alpha / r B A, which costs nothing when it runs. Hu et al. (2106.09685), section 4.1. (out, in)"""
    return weight + scale * patch.delta().to(weight)


def unmerged(weight: Tensor, patch: LowRank, scale: float = 1.0) -> Tensor:
    """The weight before `merged`, up to rounding. (out, in)"""
    return weight - scale * patch.delta().to(weight)


def spectrum(delta: Tensor) -> Tensor:
    """The singular values of a change, falling: as many above 0 as its rank. (out, in) -> (min(out, in),)"""
    values: Tensor = torch.linalg.svdvals(delta)
    return values


def truncated(delta: Tensor, rank: int) -> LowRank:
    """The best patch of a lower rank: no other is nearer in the Frobenius norm. Eckart and Young (1936).

    B = U_r sqrt(S_r), A = sqrt(S_r) V_r^T, alpha = r, from Delta W = U S V^T. Raises ValueError for
    a rank below 1 or above that of the shape.
    """
    if not 1 <= rank <= min(delta.shape):
        raise ValueError(f"rank must be from 1 to {min(delta.shape)}; it is {rank}")
    u, s, vh = torch.linalg.svd(delta, full_matrices=False)
    root = s[:rank].sqrt()
    return LowRank(root[:, None] * vh[:rank], u[:, :rank] * root, float(rank))


def factored(down: Tensor, up: Tensor, rank: int) -> LowRank:
    """As `truncated` of up @ down, without ever forming it: down = R_d^T Q_d^T, up = Q_u R_u, SVD of R_u R_d^T alone.

    down: (r, in); up: (out, r); costs O(r^2 (out + in)). Raises ValueError for a rank below 1 or above r.
    """
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    inner = truncated(r_up @ r_down.T, rank)
    return LowRank(inner.down @ q_down.T, q_up @ inner.up, float(rank))


def factor_spectrum(down: Tensor, up: Tensor) -> Tensor:
    """As `spectrum` of up @ down: its singular values above 0, falling. (r, in), (out, r) -> (min(r, in, out),)"""
    return spectrum(torch.linalg.qr(up).R @ torch.linalg.qr(down.T).R.T)


@dataclass(frozen=True)
class DeltaNorms:
    """How large a change is. relative: the Frobenius norm against the weight's; effective_rank: exp of the entropy of
    the singular values' shares, between 1 and r (Roy and Vetterli, 2007)."""

    frobenius: float
    spectral: float
    relative: float
    effective_rank: float


def delta_norms(delta: Tensor, weight: Tensor) -> DeltaNorms:
    """The norms of Delta W beside W. Both (out, in). A zero change has effective rank 0."""
    s = spectrum(delta)
    frobenius = float(s.square().sum().sqrt())
    shares = s / s.sum() if frobenius > 0 else s
    rank = float(torch.special.entr(shares).sum().exp()) if frobenius > 0 else 0.0
    return DeltaNorms(frobenius, float(s[0]), frobenius / float(weight.norm()), rank)


def parameters(shapes: Iterable[tuple[int, int]], rank: int) -> int:
    """How many numbers a patch of this rank trains on weights of these (out, in): r (out + in) each."""
    return sum(rank * (out_features + in_features) for out_features, in_features in shapes)
