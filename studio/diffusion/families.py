"""Four ways to learn to draw points, each as small as it goes: GAN, VAE, flow, DDPM. All on the plane, (B, 2).

Each is a module with `loss(x)`, what a step makes smaller, and `sample(count, generator)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.diffusion.blocks import SinusoidalEmbedding
from studio.diffusion.parameterisations import denoiser
from studio.diffusion.process import draw_t, noise_loss, q_sample
from studio.diffusion.samplers import ddpm
from studio.diffusion.schedules import cosine
from studio.diffusion.vae import reparameterise, vae_loss
from studio.diffusion.walk import last, spaced

WIDTH = 64


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers. (B, inputs) -> (B, outputs)"""
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, outputs)
    )


class Gan(nn.Module):
    """One draws, the other tells drawn from true. Goodfellow et al. (1406.2661), with the non-saturating loss.

    Both are trained on one sum: the judge sees the drawn points detached, and the drawing side a frozen copy of the
    judge's answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draw, self.judge = mlp(2, 2), mlp(2, 1)

    def loss(self, x: Tensor) -> Tensor:
        """-log D(x) - log(1 - D(G(z))), and -log D(G(z)) for G alone; a number"""
        drawn = self.draw(torch.randn_like(x))
        judging = F.softplus(-self.judge(x)).mean() + F.softplus(self.judge(drawn.detach())).mean()
        frozen = {name: value.detach() for name, value in self.judge.named_parameters()}
        fooling = F.softplus(-torch.func.functional_call(self.judge, frozen, (drawn,))).mean()
        return judging + fooling

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """One look, one point. (count, 2)"""
        drawn: Tensor = self.draw(torch.randn(count, 2, generator=generator))
        return drawn


class Vae(nn.Module):
    """Codes of two numbers, and a decoder that answers with N(x', SPREAD^2). Kingma and Welling (1312.6114)."""

    SPREAD = 0.2

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(2, 4), mlp(2, 2)

    def loss(self, x: Tensor) -> Tensor:
        """Reconstruction in units of SPREAD, and the KL; a number"""
        mean, logvar = self.encoder(x).chunk(2, 1)
        decoded = self.decoder(reparameterise(mean, logvar, torch.randn_like(mean)))
        reconstruction, kl = vae_loss(x / self.SPREAD, decoded / self.SPREAD, mean, logvar)
        return reconstruction + kl

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Decoded from N(0, I), with the decoder's own spread. (count, 2)"""
        decoded: Tensor = self.decoder(torch.randn(count, 2, generator=generator))
        return decoded + self.SPREAD * torch.randn(count, 2, generator=generator)


class Flow(nn.Module):
    """Steps that can be undone, each moving one number by what the other one says. RealNVP: Dinh et al. (1605.08803).

    y_1 = x_1, y_2 = x_2 exp(s(x_1)) + b(x_1), eq. 7, 8; in turns.
    """

    STEPS, LARGEST = 6, 2.0

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(mlp(1, 2) for _ in range(self.STEPS))

    def loss(self, x: Tensor) -> Tensor:
        """-log p(x), but for a constant: half the square of where x comes from, less the logarithms of the stretching;
        a number"""
        stretched = x.new_zeros(len(x))
        for step in self.steps:
            one, other = x.chunk(2, 1)
            log_scale, shift = self._of(step, one)
            x, stretched = torch.cat([other * log_scale.exp() + shift, one], 1), stretched + log_scale[:, 0]
        return (0.5 * x.square().sum(1) - stretched).mean()

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """The same steps backwards. (count, 2)"""
        x = torch.randn(count, 2, generator=generator)
        for step in reversed(self.steps):
            moved, one = x.chunk(2, 1)
            log_scale, shift = self._of(step, one)
            x = torch.cat([one, (moved - shift) * (-log_scale).exp()], 1)
        return x

    def _of(self, step: nn.Module, one: Tensor) -> tuple[Tensor, Tensor]:
        """By how much to stretch, as a logarithm within LARGEST, and to shift."""
        log_scale, shift = step(one).chunk(2, 1)
        return self.LARGEST * torch.tanh(log_scale / self.LARGEST), shift


class PointDdpm(nn.Module):
    """Guess the noise, told the time. DDPM (2006.11239), algorithms 1 and 2."""

    T, TIME = 100, 16

    def __init__(self) -> None:
        super().__init__()
        self.schedule, self.time, self.net = cosine(self.T), SinusoidalEmbedding(self.TIME), mlp(2 + self.TIME, 2)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        guessed: Tensor = self.net(torch.cat([xt, self.time(t)], 1))
        return guessed

    def loss(self, x: Tensor) -> Tensor:
        """|eps - eps_theta|^2; a number"""
        t, eps = draw_t(len(x), self.schedule), torch.randn_like(x)
        return noise_loss(eps, self(q_sample(x, t, eps, self.schedule), t))

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """All the steps back. (count, 2)"""
        denoise = denoiser(lambda xt, t: self(xt, torch.full((len(xt),), t)), "eps", self.schedule)
        x = torch.randn(count, 2, generator=generator)
        return last(ddpm(denoise, x, spaced(self.T, self.T), self.schedule, generator))


FAMILIES: Mapping[str, Callable[[], Gan | Vae | Flow | PointDdpm]] = {
    "gan": Gan,
    "vae": Vae,
    "flow": Flow,
    "ddpm": PointDdpm,
}
