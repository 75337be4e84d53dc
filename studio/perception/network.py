"""The eye: pixels to attributes. It knows the reserved concepts too, and so can tell whether adapters taught them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from studio.world.vocabulary import BACKGROUNDS, COLOURS, KINDS, POSES, RESERVED_KINDS, RESERVED_STYLES, STYLES

ALL_KINDS, ALL_STYLES = KINDS + RESERVED_KINDS, STYLES + RESERVED_STYLES
SIDE, FEATURES = 128, 192
NEIGHBOURS = 3
"""As Kynkäänniemi et al. take them."""


@dataclass(frozen=True)
class Reading:
    """Logits of a batch of pictures.

    background: (B, 7); style: (B, 8); kinds: (B, 11), each present or not; pairs: (B, 11, 8), a kind in a colour;
    person: (B,); character: (B,); shirt, pants: (B, 8); pose: (B, 6); features: (B, 192), for the Frechet distance.
    """

    background: Tensor
    style: Tensor
    kinds: Tensor
    pairs: Tensor
    person: Tensor
    character: Tensor
    shirt: Tensor
    pants: Tensor
    pose: Tensor
    features: Tensor


class Block(nn.Module):
    """Residual: two 3x3 convolutions with group norm; halves the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, 2, 1)
        self.norm = nn.GroupNorm(outputs // 16, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm2 = nn.GroupNorm(outputs // 16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.first(x)))
        return F.silu(x + self.norm2(self.second(x)))


class Eye(nn.Module):
    """(B, 3, 128, 128) in [-1, 1] to a Reading.

    What is somewhere is read per cell, and strong cells count most (log-mean-exp); what is everywhere (place, style)
    is read from the mean over cells.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 5, 2, 2)  # (B, 32, 64, 64)
        self.blocks = nn.Sequential(Block(32, 64), Block(64, 128), Block(128, FEATURES))  # (B, 192, 8, 8)
        somewhere = {"kinds": len(ALL_KINDS), "pairs": len(ALL_KINDS) * len(COLOURS), "person": 1, "character": 1}
        somewhere |= {"shirt": len(COLOURS), "pants": len(COLOURS), "pose": len(POSES)}
        self.sizes = somewhere
        self.context = nn.Conv2d(FEATURES, FEATURES, 3, 1, 1)
        self.cells = nn.Conv2d(FEATURES, sum(somewhere.values()), 1)
        self.whole = nn.Linear(FEATURES, len(BACKGROUNDS) + len(ALL_STYLES))

    def forward(self, pictures: Tensor) -> Reading:
        x = self.blocks(F.silu(self.stem(pictures)))
        features = x.mean((2, 3))
        background, style = self.whole(features).split([len(BACKGROUNDS), len(ALL_STYLES)], dim=1)
        cells = self.cells(x + F.silu(self.context(x)))
        pooled = cells.logsumexp((2, 3)) - math.log(cells.shape[2] * cells.shape[3])
        parts = dict(zip(self.sizes, pooled.split(list(self.sizes.values()), dim=1), strict=True))
        return Reading(
            background=background,
            style=style,
            kinds=parts["kinds"],
            pairs=parts["pairs"].view(-1, len(ALL_KINDS), len(COLOURS)),
            person=parts["person"][:, 0],
            character=parts["character"][:, 0],
            shirt=parts["shirt"],
            pants=parts["pants"],
            pose=parts["pose"],
            features=features,
        )


def as_input(pictures: NDArray[np.uint8]) -> Tensor:
    """RGB pictures (B, 128, 128, 3) to what the eye reads: (B, 3, 128, 128) in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """||m_a - m_b||^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) between Gaussians fitted to features (N, D), in float64.

    Heusel et al., 1706.08500, eq. 6; in this eye's features it is called FD-world, and depends on the sample size.
    """
    a, b = a.double(), b.double()
    covariance_a, covariance_b = torch.atleast_2d(torch.cov(a.T)), torch.atleast_2d(torch.cov(b.T))
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return float(means + covariance_a.trace() + covariance_b.trace() - 2 * cross)


def precision_recall(drawn: Tensor, real: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """The share of drawn features that lie among the real ones, and of real ones that lie among the drawn: within the
    distance of some feature of the other set to its k-th nearest of its own. drawn (N, D), real (M, D), N and M > k.

    Kynkäänniemi et al., 1904.06991, eq. 1 to 3; few samples make both too low. Raises ValueError for too few.
    """
    if min(len(drawn), len(real)) <= k:
        raise ValueError(f"{k} neighbours of each of {min(len(drawn), len(real))} features")
    between = torch.cdist(drawn.double(), real.double())
    reach_drawn, reach_real = (_reach(one.double(), k) for one in (drawn, real))
    precision = (between <= reach_real[None]).any(1).double().mean()
    recall = (between <= reach_drawn[:, None]).any(0).double().mean()
    return float(precision), float(recall)


def _reach(features: Tensor, k: int) -> Tensor:
    """The distance of each feature to its k-th nearest other one. (N, D) -> (N,)"""
    return torch.cdist(features, features).kthvalue(k + 1, dim=1).values
