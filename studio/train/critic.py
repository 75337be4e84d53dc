"""A critic of small patches, so that a decoder learns texture and edges where an average would be blurred.

As latent diffusion trains its autoencoder (Rombach et al., 2112.10752, section 3.1 and appendix G): a conditional
PatchGAN (Isola et al., 1611.07004, section 3) with the hinge loss (Lim & Ye, 1705.02894).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 64, 96)
STRENGTH, LARGEST_WEIGHT = 0.3, 10.0


class Critic(nn.Module):
    """Scores of patches of 54 x 54 pixels, given the latents they were decoded from: high for true pictures.

    Without the latents a patch in a wrong style would pass for a true one of another style.
    """

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            layers += [nn.Conv2d(channels, width, 4, 2, 1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)]
            channels = width
        self.look = nn.Sequential(*layers)
        self.judge = nn.Sequential(
            nn.Conv2d(channels + latent_channels, channels, 3, 1, 1),
            nn.GroupNorm(8, channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 1, 3, 1, 1),
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x: (B, 3, H, W) in [-1, 1]; z: (B, C, H / 8, W / 8); returns scores (B, 1, H / 8, W / 8)."""
        return self.judge(torch.cat([self.look(x), z], 1))


def critic_loss(real: Tensor, drawn: Tensor) -> Tensor:
    """Hinge loss of the critic's scores of true and of drawn pictures, (B, 1, h, w) each."""
    return F.relu(1 - real).mean() + F.relu(1 + drawn).mean()


def balanced_weight(reconstruction: Tensor, adversarial: Tensor, last: nn.Parameter) -> float:
    """The weight at which both losses pull equally, times 0.3   (2112.10752, appendix G).

    lambda = 0.3 |d reconstruction / d last| / |d adversarial / d last|, at most 10; last: the decoder's last kernel.
    """
    norms = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)]
    return min(LARGEST_WEIGHT, STRENGTH * float(norms[0]) / (float(norms[1]) + 1e-6))
