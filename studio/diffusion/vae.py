"""The pieces of a variational autoencoder: an encoder that answers with a Gaussian, and the price of that.

mean, logvar: (B, D), of the code's Gaussian, logvar = log sigma^2: any real number, so a network may put it out as is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def reparameterise(mean: Tensor, logvar: Tensor, eps: Tensor, scale: float = 1.0) -> Tensor:
    """A code whose gradient reaches mean and logvar: the chance is in eps ~ N(0, I), not in the way.

    z = mu + sigma * eps, sigma = exp(logvar / 2)                          Kingma and Welling (1312.6114), eq. 10
    scale: multiplies sigma; 0 is the mean itself, above 0 gives variants of one picture. Returns (B, D).
    """
    return mean if scale == 0 else mean + scale * (0.5 * logvar).exp() * eps


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)), summed over the D numbers of a code, in nats. (B, D) -> (B,)

    1/2 sum (mu^2 + sigma^2 - log sigma^2 - 1)                             Kingma and Welling (1312.6114), app. B
    """
    return 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum(1)


def vae_loss(x: Tensor, decoded: Tensor, mean: Tensor, logvar: Tensor, kl_weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """Reconstruction and weighted KL, each for one picture of the batch; train on their sum.

    sum (x - x')^2 / 2 + kl_weight KL: minus the bound of a decoder N(x', I), but for a constant (1312.6114, eq. 7, 10);
    kl_weight other than 1: beta-VAE (Higgins et al., 2017); 0: nothing holds sigma up, a plain autoencoder.
    """
    reconstruction = 0.5 * (x - decoded).square().sum() / len(x)
    if kl_weight == 0:  # a plain autoencoder's KL is infinite
        return reconstruction, mean.new_zeros(())
    return reconstruction, kl_weight * kl_to_standard_normal(mean, logvar).mean()


class Autoencoder(nn.Module):
    """A small convolutional one for square pictures; plain or variational.

    side: 8 or more, a multiple of 8; code: numbers in a code (2 can be drawn as a map); variational: False has no
    logvar and decodes the mean. Raises ValueError for a side that three halvings do not divide.
    """

    def __init__(self, side: int = 32, channels: int = 3, code: int = 2, width: int = 32, variational: bool = True):
        super().__init__()
        if side < 8 or side % 8:
            raise ValueError(f"side must be a multiple of 8, and at least 8; it is {side}")
        self.variational, self.corner, self.deep = variational, side // 8, 4 * width
        inner = self.deep * self.corner**2
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, self.deep, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.mean = nn.Linear(inner, code)
        self.logvar = nn.Linear(inner, code) if variational else None
        self.into = nn.Linear(code, inner)
        self.decoder = nn.Sequential(
            nn.SiLU(),
            nn.ConvTranspose2d(self.deep, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, side, side) -> mean, logvar, both (B, code); a plain autoencoder's sigma is 0, its logvar -inf."""
        h = self.encoder(x)  # (B, deep * corner^2)
        mean = self.mean(h)
        return mean, torch.full_like(mean, -torch.inf) if self.logvar is None else self.logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        """(B, code) -> (B, C, side, side) in [-1, 1]"""
        h = self.into(z).unflatten(1, (self.deep, self.corner, self.corner))
        return F.tanh(self.decoder(h))

    def forward(self, x: Tensor, eps: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """x -> its reconstruction, mean, logvar. eps: (B, code) noise; drawn without one."""
        mean, logvar = self.encode(x)
        eps = torch.randn_like(mean) if eps is None else eps
        z = reparameterise(mean, logvar, eps, scale) if self.variational else mean
        return self.decode(z), mean, logvar
