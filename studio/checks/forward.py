"""Checks of the way to noise: schedules, one step, the jump."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from studio.checks.check import Check, Subject, distance, few, standard_errors
from studio.diffusion.process import prior_kl, q_sample, q_step, to_pixels, to_signed
from studio.diffusion.schedules import linear, zero_terminal_snr


def _step_factors(on: Subject) -> tuple[Tensor, Tensor]:
    """What one step really multiplies picture and noise with, at every t. (T,), (T,)"""
    one, t = torch.ones(on.schedule.T, 1, dtype=torch.float64), torch.arange(on.schedule.T)
    nothing = torch.zeros_like(one)
    return q_step(one, t, nothing, on.schedule)[:, 0], q_step(nothing, t, one, on.schedule)[:, 0]


def _product(on: Subject) -> float:
    """alpha_bar as a product against a sum of logarithms."""
    return distance((-on.schedule.betas).log1p().cumsum(0).exp(), on.schedule.alpha_bars)


def _snr_falls(on: Subject) -> float:
    """The largest rise of the signal-to-noise ratio from one step to the next; below 0 everywhere."""
    return float(on.schedule.snr.diff().max())


def _zero_terminal(on: Subject) -> float:
    """What is left at the end after rescaling, and how far the beginning moved."""
    rescaled = zero_terminal_snr(on.schedule)
    moved = abs(float(rescaled.alpha_bars[0] - on.schedule.alpha_bars[0]))
    return max(float(rescaled.alpha_bars[-1]), moved)


def _unit_variance(on: Subject) -> float:
    """How far one step takes a variance of 1 away from 1, at worst."""
    a, b = _step_factors(on)
    return float((a.square() + b.square() - 1).abs().max())


def _jump(on: Subject) -> float:
    """All steps composed against the jump, at every t: the factor of the picture, and the variance of the noise."""
    a, b = (factor.tolist() for factor in _step_factors(on))
    signal, variance, composed = 1.0, 0.0, []
    for of_picture, of_noise in zip(a, b, strict=True):
        signal, variance = of_picture * signal, of_picture**2 * variance + of_noise**2
        composed.append((signal, variance))
    one, t = torch.ones(on.schedule.T, 1, dtype=torch.float64), torch.arange(on.schedule.T)
    nothing = torch.zeros_like(one)
    jump_signal = q_sample(one, t, nothing, on.schedule)
    jump_variance = q_sample(nothing, t, one, on.schedule).square()
    return distance(torch.tensor(composed, dtype=torch.float64), torch.cat([jump_signal, jump_variance], 1))


def _monte_carlo(on: Subject) -> float:
    """Step the pictures themselves t times; what was added must be N(0, 1 - alpha_bar_t)."""
    x0, generator = few(on.x0), on.generator(1)
    x = x0
    for s in range(on.t + 1):
        x = q_step(x, s, torch.randn(x.shape, generator=generator, dtype=x.dtype), on.schedule)
    alpha_bar = on.schedule.alpha_bar(on.t)
    return standard_errors((x - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar), 0.0, 1.0)


def _prior(on: Subject) -> float:
    """Bits for each value that DDPM's last x_T still holds of these pictures."""
    return float(prior_kl(on.x0.clamp(-1, 1), linear(1000)).mean())


def _pixels(on: Subject) -> float:
    """How many bytes do not come back from [-1, 1], of all 256 and of the pictures."""
    every, own = torch.arange(256, dtype=torch.uint8), to_pixels(on.x0)
    return float((to_pixels(to_signed(every)) != every).sum() + (to_pixels(to_signed(own)) != own).sum())


CHECKS = (
    Check(
        "forward.product",
        r"\bar\alpha_t = \prod_{s \le t} (1 - \beta_s) = e^{\sum_s \log(1 - \beta_s)}",
        "DDPM (2006.11239), section 2",
        _product,
        1e-10,
        ("schedule",),
    ),
    Check(
        "forward.snr_falls",
        r"\mathrm{SNR}(t) < \mathrm{SNR}(t - 1)",
        "VDM (2107.00630), section 3",
        _snr_falls,
        0.0,
        ("schedule",),
        least_T=2,
    ),
    Check(
        "forward.unit_variance",
        r"(1 - \beta_t) \cdot 1 + \beta_t = 1",
        "DDPM (2006.11239), eq. 2",
        _unit_variance,
        1e-12,
        ("schedule",),
    ),
    Check(
        "forward.jump",
        r"q(x_t | x_0) = \mathcal N(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I)",
        "DDPM (2006.11239), eq. 4",
        _jump,
        1e-10,
        ("schedule",),
    ),
    Check(
        "forward.steps",
        r"(x_t - \sqrt{\bar\alpha_t}\, x_0) / \sqrt{1 - \bar\alpha_t} \sim \mathcal N(0, I)",
        "DDPM (2006.11239), eq. 4",
        _monte_carlo,
        4.0,
        ("x0", "schedule", "t", "seed"),
    ),
    Check(
        "forward.prior",
        r"L_T = D_{KL}(q(x_T | x_0) \,\|\, \mathcal N(0, I)) \approx 10^{-5}",
        "DDPM (2006.11239), section 4",
        _prior,
        3e-5,
        ("x0",),
    ),
    Check(
        "forward.zero_terminal",
        r"\bar\alpha'_T = 0, \quad \bar\alpha'_1 = \bar\alpha_1",
        "Lin et al. (2305.08891), algorithm 1",
        _zero_terminal,
        1e-12,
        ("schedule",),
        least_T=2,
    ),
    Check(
        "forward.pixels",
        r"x = p / 127.5 - 1, \quad p \in \{0, \dots, 255\}",
        "DDPM (2006.11239), section 3.3",
        _pixels,
        0.0,
        ("x0",),
    ),
)
