"""How ControlNet begins without harm: a convolution of zeros on either side of a trainable copy.

Zero weights learn: at y = w x the gradient of w is x, which is not zero; only the gradient of x is, until w has moved.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn


class ZeroConv2d(nn.Conv2d):
    """A 1 x 1 convolution that begins with weight and bias 0. Zhang et al. (2302.05543), section 3.1.

    (B, C_in, H, W) -> (B, C_out, H, W), at first 0
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class ControlledBlock(nn.Module):
    """A frozen block with a trainable copy beside it that also sees a condition.

    y_c = F(x; theta) + Z(F(x + Z(c; theta_z1); theta_c); theta_z2)       Zhang et al. (2302.05543), eq. 2
    block: F, which maps (B, C, H, W) to (B, C_out, H, W); it is frozen in place. condition: (B, C_c, H, W).
    """

    def __init__(self, block: nn.Module, channels: int, out_channels: int, condition_channels: int):
        super().__init__()
        self.trained = copy.deepcopy(block).requires_grad_(True)
        self.frozen = block.requires_grad_(False)
        self.zero_in = ZeroConv2d(condition_channels, channels)
        self.zero_out = ZeroConv2d(out_channels, out_channels)

    def residual(self, x: Tensor, condition: Tensor) -> Tensor:
        """What the copy adds. (B, C_out, H, W)"""
        added: Tensor = self.zero_out(self.trained(x + self.zero_in(condition)))
        return added

    def forward(self, x: Tensor, condition: Tensor, scale: float = 1.0) -> Tensor:
        """scale: multiplies what is added; 0 leaves the copy out."""
        base: Tensor = self.frozen(x)
        return base if scale == 0 else base + scale * self.residual(x, condition)


def controlled(x: Tensor, units: Sequence[tuple[ControlledBlock, Tensor, float]]) -> Tensor:
    """A block with several copies beside it, each with its condition and its scale: what they add is summed.

    y_c = F(x) + sum_i s_i (y_i - F(x)), where y_i is what unit i alone makes of it; 2302.05543, section 3.4
    x: (B, C, H, W); units: of one and the same frozen block, at least one; returns (B, C_out, H, W).
    """
    total: Tensor = units[0][0].frozen(x)
    for block, condition, scale in units:
        total = total + scale * block.residual(x, condition)
    return total
