"""How close a picture comes to another one, pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor


def peak_signal_to_noise(y: Tensor, x: Tensor) -> Tensor:
    """PSNR in dB of each picture, (B,), where the peak is 2; y, x: (B, 3, H, W) in [-1, 1]."""
    return -10 * torch.log10(((y.clamp(-1, 1) - x) / 2).square().mean((1, 2, 3)))
