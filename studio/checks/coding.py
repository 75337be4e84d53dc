"""Checks of the variational autoencoder's pieces, on codes that are drawn here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from studio.checks.check import Check, Subject, differs, distance, standard_errors
from studio.diffusion.vae import kl_to_standard_normal, reparameterise

DRAWS = 20_000


def _codes(on: Subject) -> tuple[Tensor, Tensor, Tensor]:
    """Means, log-variances and noise. (16, 4) each"""
    generator = on.generator(10)
    mean, logvar, eps = (torch.randn(16, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    return mean, logvar, eps


def _against_torch(on: Subject) -> float:
    mean, logvar, _ = _codes(on)
    theirs = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    return distance(kl_to_standard_normal(mean, logvar), theirs)


def _monte_carlo(on: Subject) -> float:
    """The mean of log q(z) - log p(z) over drawn z, in standard errors."""
    mean, logvar, _ = (codes[:1] for codes in _codes(on))
    eps = torch.randn(DRAWS, 4, generator=on.generator(11), dtype=torch.float64)
    z = reparameterise(mean, logvar, eps)
    inside = Normal(mean, (0.5 * logvar).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    return standard_errors(inside.sum(1), float(kl_to_standard_normal(mean, logvar)))


def _gradient(on: Subject) -> float:
    """The gradient that reaches mean and logvar against central differences of sum z^3."""
    mean, logvar, eps = _codes(on)

    def loss(m: Tensor, v: Tensor) -> Tensor:
        return reparameterise(m, v, eps).pow(3).sum()

    with torch.enable_grad():
        m, v = mean.clone().requires_grad_(True), logvar.clone().requires_grad_(True)
        ours = torch.autograd.grad(loss(m, v), (m, v))
    h, worst = 1e-5, 0.0
    for which, inputs in enumerate((mean, logvar)):
        nudge = torch.zeros_like(inputs)
        nudge[3, 2] = h
        ahead, behind = (
            loss(mean + sign * nudge, logvar) if which == 0 else loss(mean, logvar + sign * nudge) for sign in (1, -1)
        )
        worst = max(worst, distance(ours[which][3, 2], (ahead - behind) / (2 * h)))
    return worst


def _scale_zero(on: Subject) -> float:
    mean, logvar, eps = _codes(on)
    return differs(reparameterise(mean, logvar, eps, scale=0.0), mean)


def _spread(on: Subject) -> float:
    """Standard errors between drawn codes and N(mu, sigma^2)."""
    mean, logvar, _ = (codes[:1] for codes in _codes(on))
    eps = torch.randn(DRAWS, 4, generator=on.generator(12), dtype=torch.float64)
    return standard_errors((reparameterise(mean, logvar, eps) - mean) / (0.5 * logvar).exp(), 0.0, 1.0)


CHECKS = (
    Check(
        "vae.kl",
        r"\tfrac12 \sum (\mu^2 + \sigma^2 - \log \sigma^2 - 1)",
        "torch.distributions; 1312.6114, app. B",
        _against_torch,
        1e-12,
        ("seed",),
    ),
    Check(
        "vae.kl_sampled",
        r"\mathbb E_q[\log q(z) - \log p(z)]",
        "Kingma and Welling (1312.6114), eq. 5",
        _monte_carlo,
        4.0,
        ("seed",),
    ),
    Check(
        "vae.spread",
        r"z = \mu + \sigma \odot \epsilon \sim \mathcal N(\mu, \sigma^2)",
        "Kingma and Welling (1312.6114), eq. 10",
        _spread,
        4.0,
        ("seed",),
    ),
    Check(
        "vae.gradient",
        r"\partial z / \partial \mu = 1, \quad \partial z / \partial \log\sigma^2 = \sigma \epsilon / 2",
        "finite differences",
        _gradient,
        1e-6,
        ("seed",),
    ),
    Check(
        "vae.scale_zero",
        r"z(0 \cdot \sigma) = \mu",
        "Kingma and Welling (1312.6114), eq. 10",
        _scale_zero,
        0.0,
        ("seed",),
    ),
)
