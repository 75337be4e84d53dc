"""A classifier of noisy pictures: it is told t, so that it knows how much it can expect to see."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from studio.diffusion.blocks import ConvNeXtBlock, Down, SinusoidalEmbedding


class NoisyClassifier(nn.Module):
    """p(y | x_t), what classifier guidance asks for. Dhariwal and Nichol (2105.05233), section 4.

    dim: channels of the first level, doubled at each of `levels` - 1 halvings; patch: squares of so many pixels a side
    are read as one place. xt: (B, channels, H, W); t: (B,); returns logits (B, classes).
    """

    def __init__(self, classes: int, dim: int = 24, levels: int = 3, channels: int = 3, patch: int = 2):
        super().__init__()
        self.patch, time_dim = patch, 4 * dim
        self.time = nn.Sequential(
            SinusoidalEmbedding(dim), nn.Linear(dim, time_dim), nn.GELU(), nn.Linear(time_dim, time_dim)
        )
        self.first = nn.Conv2d(channels * patch**2, dim, 3, padding=1)
        sizes = [dim * 2**level for level in range(levels)]
        self.blocks = nn.ModuleList(ConvNeXtBlock(size, size, time_dim) for size in sizes)
        self.downs = nn.ModuleList(Down(size, 2 * size) for size in sizes[:-1])
        self.out = nn.Sequential(nn.LayerNorm(sizes[-1]), nn.Linear(sizes[-1], classes))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        e = self.time(t)  # (B, 4 dim)
        x = self.first(F.pixel_unshuffle(xt, self.patch))  # (B, dim, H / patch, W / patch)
        x = self.blocks[0](x, e)
        for down, block in zip(self.downs, self.blocks[1:], strict=True):
            x = block(down(x), e)
        logits: Tensor = self.out(x.mean((2, 3)))  # (B, classes)
        return logits
