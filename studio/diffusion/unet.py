"""The network that guesses the noise: down, across and up again; each level keeps two looks for the way up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.diffusion.blocks import BlockAttention, ConvNeXtBlock, Down, SinusoidalEmbedding, Up


class DownLevel(nn.Module):
    """Two blocks at one size, and the way to the next: half the side, or at the deepest level the same."""

    def __init__(self, channels: int, out_channels: int, time_dim: int, halves: bool):
        super().__init__()
        self.first = ConvNeXtBlock(channels, channels, time_dim)
        self.second = ConvNeXtBlock(channels, channels, time_dim)
        self.move = Down(channels, out_channels) if halves else nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) -> (B, C_out, H/2, W/2), and what both blocks saw, (B, C, H, W) each"""
        one = self.first(x, time)
        two = self.second(one, time)
        return self.move(two), one, two


class UpLevel(nn.Module):
    """Two blocks at one size, each with a skip behind what comes up, and the way to the next: twice the side, or the
    same at the topmost level. gated: a gate on either skip."""

    def __init__(self, channels: int, out_channels: int, time_dim: int, doubles: bool, gated: bool):
        super().__init__()
        self.first = ConvNeXtBlock(channels + out_channels, channels, time_dim)
        self.second = ConvNeXtBlock(channels + out_channels, channels, time_dim)
        self.first_gate = BlockAttention(out_channels, channels) if gated else None
        self.second_gate = BlockAttention(out_channels, channels) if gated else None
        self.move = Up(channels, out_channels) if doubles else nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, skips: tuple[Tensor, Tensor], time: Tensor) -> Tensor:
        """(B, C, H, W) and two skips (B, C_out, H, W) -> (B, C_out, 2H, 2W)"""
        x = self.first(_joined(x, skips[0], self.first_gate), time)
        x = self.second(_joined(x, skips[1], self.second_gate), time)
        moved: Tensor = self.move(x)
        return moved


def _joined(x: Tensor, skip: Tensor, gate: BlockAttention | None) -> Tensor:
    """What comes up, and behind it a skip, gated if there is a gate. (B, C + C_skip, H, W)"""
    return torch.cat([x, skip if gate is None else gate(skip, x)], 1)


class UNet(nn.Module):
    """A U-Net of ConvNeXt blocks with two skips at each level; after Ronneberger et al. (1505.04597).

    dim: channels of the first level; dim_mults: one for each level, any number of them; the last level is not halved
    again, so sides must be multiples of patch * 2^(levels - 1). patch: squares of so many pixels a side are read and
    written as one place, which is that much less work. gates: a BlockAttention on each skip. uses_time: False shows
    what the network is worth when it is not told t. classes: how many labels it can be told; it then has one more,
    "no label" (`null_label`), which takes a label's place now and then in training, so that it can guide itself.
    xt: (B, channels, H, W); t: (B,); labels: (B,) int64, or None for no label; returns (B, out_channels, H, W).
    """

    def __init__(
        self,
        dim: int = 32,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        channels: int = 3,
        out_channels: int | None = None,
        classes: int = 0,
        gates: bool = False,
        uses_time: bool = True,
        patch: int = 1,
    ):
        super().__init__()
        if not dim_mults:
            raise ValueError("dim_mults must name at least one level")
        self.levels, self.uses_time, self.null_label, self.patch = len(dim_mults), uses_time, classes, patch
        time_dim, sizes = 4 * dim, [dim, *(dim * mult for mult in dim_mults)]
        self.time = nn.Sequential(
            SinusoidalEmbedding(dim), nn.Linear(dim, time_dim), nn.GELU(), nn.Linear(time_dim, time_dim)
        )
        self.label = nn.Embedding(classes + 1, time_dim) if classes else None
        self.first = nn.Conv2d(channels * patch**2, dim, 7, padding=3)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (here, deeper) in enumerate(pairwise(sizes)):
            self.downs.append(DownLevel(here, deeper, time_dim, halves=level < self.levels - 1))
            self.ups.insert(0, UpLevel(deeper, here, time_dim, doubles=level > 0, gated=gates))
        self.middle = nn.ModuleList(ConvNeXtBlock(sizes[-1], sizes[-1], time_dim) for _ in range(2))
        self.final = ConvNeXtBlock(2 * dim, dim, time_dim)
        self.out = nn.Conv2d(dim, (channels if out_channels is None else out_channels) * patch**2, 1)

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        self._check(xt)
        e = self.embed(t, labels)  # (B, 4 dim)
        x = beginning = self.first(F.pixel_unshuffle(xt, self.patch))  # (B, dim, h, w), h = H / patch
        skips: list[tuple[Tensor, Tensor]] = []
        for down in self.downs:
            x, one, two = down(x, e)
            skips.append((two, one))  # the way up meets the later one first
        for block in self.middle:
            x = block(x, e)  # (B, dim * dim_mults[-1], h / 2^(levels - 1), w / 2^(levels - 1))
        for up in self.ups:
            x = up(x, skips.pop(), e)
        x = self.final(torch.cat([x, beginning], 1), e)  # (B, dim, h, w)
        predicted: Tensor = F.pixel_shuffle(self.out(x), self.patch)
        return predicted  # (B, out_channels, H, W)

    def embed(self, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """What every block hears: the time, and the label. (B,), (B,) -> (B, 4 dim)"""
        e: Tensor = self.time(t if self.uses_time else torch.zeros_like(t))
        if self.label is None:
            return e
        labels = torch.full_like(t, self.null_label, dtype=torch.int64) if labels is None else labels
        heard: Tensor = e + self.label(labels)
        return heard

    @property
    def _in_patches(self) -> str:
        return f" in patches of {self.patch}" if self.patch > 1 else ""

    def _check(self, xt: Tensor) -> None:
        """Refuse sides that the halvings do not divide, by name."""
        step = self.patch * 2 ** (self.levels - 1)
        for name, side in (("height", xt.shape[-2]), ("width", xt.shape[-1])):
            if side % step or side == 0:
                raise ValueError(
                    f"{name} must be a multiple of {step}, because {self.levels} levels halve it {self.levels - 1} "
                    f"times{self._in_patches}; it is {side}"
                )


def told(net: nn.Module, labels: Tensor | None = None) -> Callable[[Tensor, int], Tensor]:
    """A network as samplers ask it: all pictures of a batch at one t, each with its label. labels: (B,) or None."""

    def predict(xt: Tensor, t: int) -> Tensor:
        times = torch.full((len(xt),), t, device=xt.device)
        predicted: Tensor = net(xt, times, labels)
        return predicted

    return predict


def drop_labels(labels: Tensor, null_label: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Replace a share of the labels with "no label". Ho and Salimans (2207.12598), algorithm 1. (B,) -> (B,)"""
    dropped = torch.rand(labels.shape, generator=generator).to(labels.device) < share
    return torch.where(dropped, null_label, labels)
