"""The parts of the noise-predicting network: time as waves, a ConvNeXt block, down, up, and a gate on the skips."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SinusoidalEmbedding(nn.Module):
    """Time as waves of falling frequency: near times look alike, and no two alike.

    emb_i = sin(t theta^{-i / (d/2 - 1)}), and the same with cos behind, i = 0 .. d/2 - 1
                                                         Vaswani et al. (1706.03762), section 3.5; theta = 10^4
    t: (B,), any numbers; returns (B, dim): zeros then ones at t = 0. Raises ValueError unless dim is even and >= 4.
    """

    def __init__(self, dim: int, theta: float = 10_000.0):
        super().__init__()
        if dim < 4 or dim % 2:
            raise ValueError(f"dim must be even and at least 4; it is {dim}")
        half = dim // 2
        frequencies = torch.exp(torch.arange(half) * (-math.log(theta) / (half - 1)))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        assert isinstance(self.frequencies, Tensor)
        angles = t.to(self.frequencies)[:, None] * self.frequencies  # (B, dim / 2)
        return torch.cat([angles.sin(), angles.cos()], 1)


class ConvNeXtBlock(nn.Module):
    """Look around (7 x 7, each channel alone), hear the time, mix channels, and add what came in.

    After Liu et al. (2201.03545), with 3 x 3 convolutions and GroupNorm of one group where ConvNeXt has 1 x 1 and
    LayerNorm. x: (B, C_in, H, W); time: (B, time_dim); returns (B, C_out, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, time_dim: int, mult: int = 2):
        super().__init__()
        inner = mult * out_channels
        self.around = nn.Conv2d(in_channels, in_channels, 7, padding=3, groups=in_channels)
        self.time = nn.Sequential(nn.GELU(), nn.Linear(time_dim, in_channels))
        self.mix = nn.Sequential(
            nn.GroupNorm(1, in_channels),
            nn.Conv2d(in_channels, inner, 3, padding=1),
            nn.GELU(),
            nn.GroupNorm(1, inner),
            nn.Conv2d(inner, out_channels, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.around(x) + self.time(time)[..., None, None]  # (B, C_in, H, W)
        mixed: Tensor = self.mix(h) + self.shortcut(x)  # (B, C_out, H, W)
        return mixed


class Down(nn.Module):
    """Half the side: four neighbours become four channels, so that nothing is lost, then a 1 x 1 convolution.

    The inverse of Shi et al. (1609.05158), eq. 4. (B, C_in, H, W) -> (B, C_out, H/2, W/2)
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(4 * in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        smaller: Tensor = self.conv(F.pixel_unshuffle(x, 2))
        return smaller


class Up(nn.Module):
    """Twice the side: each pixel four times, then a 3 x 3 convolution, which leaves no checkerboard.

    Odena et al. (2016), "Deconvolution and Checkerboard Artifacts". (B, C_in, H, W) -> (B, C_out, 2H, 2W)
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        larger: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return larger


class BlockAttention(nn.Module):
    """A gate: what comes up says, for each place, how much of a skip connection passes.

    gate = S(psi(relu(W_g g + W_x x))), output gate * x                    Oktay et al. (1804.03999), eq. 1, 2
    x: the skip, (B, C_x, H, W); g: what comes up, (B, C_g, H, W).
    """

    def __init__(self, skip_channels: int, gate_channels: int):
        super().__init__()
        self.of_skip = nn.Conv2d(skip_channels, gate_channels, 1)
        self.of_gate = nn.Conv2d(gate_channels, gate_channels, 1)
        self.psi = nn.Conv2d(gate_channels, 1, 1)

    def gate(self, x: Tensor, g: Tensor) -> Tensor:
        """How much passes, between 0 and 1: the heatmap. (B, 1, H, W)"""
        return torch.sigmoid(self.psi(F.relu(self.of_gate(g) + self.of_skip(x))))

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        return self.gate(x, g) * x
