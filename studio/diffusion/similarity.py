"""How near one picture comes to another, without any network. y, x: (B, C, H, W) in [-1, 1]; returns (B,)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PEAK = 2.0
WINDOW, SPREAD = 11, 1.5
K1, K2 = 0.01, 0.03
SMALLEST_ERROR = 1e-10
"""Equal pictures would have infinitely many dB: they get 106."""


def psnr(y: Tensor, x: Tensor) -> Tensor:
    """10 log10(peak^2 / mean (y - x)^2) in dB, where the peak is 2."""
    error = (y.clamp(-1, 1) - x.clamp(-1, 1)).square().mean((1, 2, 3)).clamp(min=SMALLEST_ERROR)
    return 10 * torch.log10(PEAK**2 / error)


def ssim(y: Tensor, x: Tensor) -> Tensor:
    """Structural similarity, 1 for equal pictures.

    mean over places of (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2)), c_i = (k_i peak)^2
                                                    Wang et al., "Image quality assessment" (2004), eq. 13, section III
    Means and variances under a Gaussian window of 11 x 11 and sigma 1.5, at places where it lies inside the picture.
    Raises ValueError for sides below the window.
    """
    if min(x.shape[-2:]) < WINDOW:
        raise ValueError(f"sides must be at least {WINDOW}; they are {tuple(x.shape[-2:])}")
    y, x = y.clamp(-1, 1).double(), x.clamp(-1, 1).double()
    m_x, m_y = _blurred(x), _blurred(y)
    s_x, s_y, s_xy = _blurred(x * x) - m_x**2, _blurred(y * y) - m_y**2, _blurred(x * y) - m_x * m_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    found = (2 * m_x * m_y + c1) * (2 * s_xy + c2) / ((m_x**2 + m_y**2 + c1) * (s_x + s_y + c2))
    return found.mean((1, 2, 3)).float()


def _blurred(x: Tensor) -> Tensor:
    """Weighted means under the window. (B, C, H, W) -> (B, C, H - 10, W - 10)"""
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = torch.exp(-(at**2) / (2 * SPREAD**2))
    weights = weights / weights.sum()
    channels = x.shape[1]
    down = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    across = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(x, down, groups=channels), across, groups=channels)
