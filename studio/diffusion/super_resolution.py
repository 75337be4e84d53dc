"""Twice the side: a small network that works at the small size and shuffles channels into pixels at the end."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, DEPTH = 40, 5


class SuperResolver(nn.Module):
    """(B, 3, H, W) in [-1, 1] to (B, 3, 2H, 2W): bilinear interpolation plus what a convolutional network adds.

    Sub-pixel convolution: Shi et al., 1609.05158, eq. 4. The last layer starts at zero, so that an untrained network
    is plain interpolation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, WIDTH, 5, padding=2)
        self.hidden = nn.ModuleList([nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(DEPTH)])
        self.last = nn.Conv2d(WIDTH, 12, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.first(x))  # (B, 40, H, W)
        for layer in self.hidden:
            h = h + F.silu(layer(h))
        details = F.pixel_shuffle(self.last(h), 2)  # (B, 3, 2H, 2W)
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) + details
