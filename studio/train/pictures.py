"""Pictures as training sees them: tensors in [-1, 1], crops, and how far two of them are apart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_unit(pictures: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def crops(pictures: np.ndarray, batch: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Random crops of random pictures, (batch, side, side, 3) uint8."""
    size = pictures.shape[1]
    picks, corners = rng.integers(len(pictures), size=batch), rng.integers(0, size - side + 1, (batch, 2))
    return np.stack([pictures[i, y : y + side, x : x + side] for i, (y, x) in zip(picks, corners, strict=True)])


def edge_difference(d: Tensor) -> Tensor:
    """Mean absolute gradient of a difference of pictures, (B, C, H, W): what blurred edges add to."""
    return (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
