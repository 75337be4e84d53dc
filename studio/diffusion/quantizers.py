"""The quantizers of one tensor, as modules: what stands before a layer and rounds what goes in, or rounds its weight.

Those of this file are for looking: they learn nothing. x: (B, ...); each returns a tensor like x.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.diffusion.clock import Clock
from studio.diffusion.quantize import Grid, fake_quantize, min_max


class TableQuantizer(nn.Module):
    """The step and the zero level of each time, from tables: one number at all times, one for each interval, or a curve
    that was learned. No network is asked, and any number of sampling steps finds its row.

    steps, zeros: (T,)
    """

    def __init__(self, steps: Tensor, zeros: Tensor, grid: Grid, clock: Clock):
        super().__init__()
        if len(steps) != clock.T or len(zeros) != clock.T:
            raise ValueError(f"a table has a row for each of {clock.T} times; these have {len(steps)}, {len(zeros)}")
        self.register_buffer("steps", steps)
        self.register_buffer("zeros", zeros)
        self.grid, self.clock = grid, clock

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.steps, Tensor) and isinstance(self.zeros, Tensor)
        return fake_quantize(x, self.clock.pick(self.steps, x), self.clock.pick(self.zeros, x), self.grid)


class DynamicQuantizer(nn.Module):
    """The step of what just came in: the smallest and largest value of each sample. Nothing is learned and nothing is
    cut off, but every tensor is read once more before it can be rounded."""

    def __init__(self, grid: Grid):
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        s, z = min_max(flat.amin(1), flat.amax(1), self.grid)  # (B,)
        shape = (-1, *[1] * (x.ndim - 1))
        return fake_quantize(x, s.view(shape), z.view(shape), self.grid)


class SplitQuantizer(nn.Module):
    """A quantizer for each half of what was joined: what comes up, and the skip behind it, whose ranges differ.

    Q-Diffusion (2302.04304). channels: of the first half; x: (B, C, H, W) with C above that.
    """

    def __init__(self, first: nn.Module, second: nn.Module, channels: int):
        super().__init__()
        self.first, self.second, self.channels = first, second, channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x[:, : self.channels]), self.second(x[:, self.channels :])], 1)


class QuantizedLayer(nn.Module):
    """A convolution or a linear layer whose input is rounded first, and whose weight is, where there is `weights`.

    Without `weights` the layer's weight is taken as it is: it has been rounded once and for all.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, inputs: nn.Module, weights: nn.Module | None = None):
        super().__init__()
        self.layer, self.inputs, self.weights = layer, inputs, weights

    @property
    def weight(self) -> Tensor:
        return self.layer.weight

    @property
    def bias(self) -> Tensor | None:
        return self.layer.bias

    def forward(self, x: Tensor) -> Tensor:
        weight = self.layer.weight if self.weights is None else self.weights(self.layer.weight)
        x = self.inputs(x)
        if isinstance(self.layer, nn.Conv2d):
            convolved: Tensor = self.layer._conv_forward(x, weight, self.layer.bias)
            return convolved
        return F.linear(x, weight, self.layer.bias)


def replace(net: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module where another one is, by its path below a network."""
    parent, _, last = name.rpartition(".")
    setattr(net.get_submodule(parent), last, module)
