"""From a picture to noise, and what can be said about the way back when both ends are known.

x0: a clean picture, (B, C, H, W) or any (B, ...), in [-1, 1]; eps: N(0, I) noise of the same shape; xt: x0 at noise
level t; t: one time for all of the batch, or (B,) int64, in [0, T). Results have the shape and dtype of the pictures.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from studio.diffusion.schedules import Schedule

Time = int | Tensor
LossKind = Literal["l1", "l2"]


def at(values: Tensor, t: Time, like: Tensor) -> Tensor:
    """values[t] for each picture, in a shape that multiplies (B, ...), in the dtype and on the device of `like`.

    values: (T,) float64. Raises ValueError for a t outside [0, T) or one that fits no batch.
    """
    index = torch.as_tensor(t, dtype=torch.int64, device="cpu").reshape(-1)
    if not bool(((index >= 0) & (index < len(values))).all()):
        raise ValueError(f"t must be from 0 to {len(values) - 1}; it is {index.tolist()}")
    if len(index) not in (1, len(like)):
        raise ValueError(f"t must be one time or one for each of {len(like)} pictures; there are {len(index)}")
    return values[index].to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def draw_t(batch: int, schedule: Schedule, generator: torch.Generator | None = None) -> Tensor:
    """A time for each picture: t ~ Uniform{0, ..., T - 1}. DDPM (2006.11239), algorithm 1. (batch,) int64"""
    return torch.randint(0, schedule.T, (batch,), generator=generator)


def q_step(previous: Tensor, t: Time, eps: Tensor, schedule: Schedule) -> Tensor:
    """Add the noise of one step.

    x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps                                DDPM (2006.11239), eq. 2
    """
    return at(schedule.alphas.sqrt(), t, previous) * previous + at(schedule.betas.sqrt(), t, previous) * eps


def q_sample(x0: Tensor, t: Time, eps: Tensor, schedule: Schedule) -> Tensor:
    """Jump from a clean picture to noise level t in one step.

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps                          DDPM (2006.11239), eq. 4
    """
    return signal(t, x0, schedule) * x0 + noise(t, x0, schedule) * eps


def signal(t: Time, like: Tensor, schedule: Schedule) -> Tensor:
    """sqrt(alpha_bar_t), to multiply pictures like `like` with."""
    return at(schedule.alpha_bars.sqrt(), t, like)


def noise(t: Time, like: Tensor, schedule: Schedule) -> Tensor:
    """sqrt(1 - alpha_bar_t), to multiply pictures like `like` with."""
    return at((1 - schedule.alpha_bars).sqrt(), t, like)


def q_posterior(x0: Tensor, xt: Tensor, t: Time, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Mean and variance of x_{t-1} when both x_t and x_0 are known: q(x_{t-1} | x_t, x_0).

    mu_tilde = sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) x_0
             + sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) x_t           DDPM (2006.11239), eq. 6, 7
    The variance is beta_tilde_t, in a shape that broadcasts.
    """
    before, now = schedule.previous_alpha_bars, schedule.alpha_bars
    of_x0 = before.sqrt() * schedule.betas / (1 - now)
    of_xt = schedule.alphas.sqrt() * (1 - before) / (1 - now)
    mean = at(of_x0, t, x0) * x0 + at(of_xt, t, xt) * xt
    return mean, at(schedule.posterior_variances, t, x0)


def p_mean(xt: Tensor, t: Time, eps: Tensor, schedule: Schedule) -> Tensor:
    """The mean of the step back that a predicted noise gives.

    mu_theta = 1 / sqrt(alpha_t) (x_t - beta_t / sqrt(1 - alpha_bar_t) eps_theta)    DDPM (2006.11239), eq. 11
    Not defined where alpha_t is 0, at the end of a schedule with zero terminal SNR: infinite there.
    """
    of_eps = schedule.betas / (1 - schedule.alpha_bars).sqrt()
    return at(schedule.alphas.rsqrt(), t, xt) * (xt - at(of_eps, t, xt) * eps)


def noise_loss(eps: Tensor, predicted: Tensor, kind: LossKind = "l2") -> Tensor:
    """How far a predicted noise is from the true one: the mean of |d| or d^2. DDPM (2006.11239), eq. 14 is "l2"."""
    if kind not in ("l1", "l2"):
        raise ValueError(f"kind must be l1 or l2; it is {kind}")
    difference = predicted - eps
    return difference.abs().mean() if kind == "l1" else difference.square().mean()


def kl_gaussians(mean1: Tensor, variance1: Tensor, mean2: Tensor, variance2: Tensor) -> Tensor:
    """KL(N(mean1, variance1) || N(mean2, variance2)) of each value, not summed; in nats.

    1/2 (log(variance2 / variance1) + (variance1 + (mean1 - mean2)^2) / variance2 - 1)
    """
    return 0.5 * ((variance2 / variance1).log() + (variance1 + (mean1 - mean2).square()) / variance2 - 1)


def dropped_weight(t: Time, variance: Tensor, like: Tensor, schedule: Schedule) -> Tensor:
    """What DDPM's simple loss leaves away: the factor of |eps - eps_theta|^2 in the bound's KL at this t.

    beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)), sigma_t^2 = variance         DDPM (2006.11239), eq. 12
    variance: (T,), such as `posterior_variances` (0 at t = 0, where the bound has no such term) or `betas`.
    """
    weight = schedule.betas**2 / (2 * variance * schedule.alphas * (1 - schedule.alpha_bars))
    return at(weight, t, like)


def step_kl(x0: Tensor, xt: Tensor, t: Time, predicted: Tensor, schedule: Schedule) -> Tensor:
    """One term of the bound: KL between the true step back and the model's of the same variance beta_tilde. t >= 1.

    L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t))                    DDPM (2006.11239), eq. 5, 8
    predicted: the model's noise; returns each value's share, in the pictures' shape, in nats.
    """
    mean, variance = q_posterior(x0, xt, t, schedule)
    return kl_gaussians(mean, variance, p_mean(xt, t, predicted, schedule), variance)


def prior_kl(x0: Tensor, schedule: Schedule) -> Tensor:
    """What the last x_T still says of the picture, in bits for each value: KL(q(x_T | x_0) || N(0, I)).

    L_T                                                                              DDPM (2006.11239), eq. 5
    Returns each value's share, in the picture's shape.
    """
    last = schedule.T - 1
    variance = noise(last, x0, schedule).square()
    mean = signal(last, x0, schedule) * x0
    return kl_gaussians(mean, variance, torch.zeros_like(mean), torch.ones_like(variance)) / math.log(2)


def to_signed(pixels: Tensor) -> Tensor:
    """Bytes 0 .. 255 to float32 in [-1, 1]: x = pixel / 127.5 - 1. DDPM (2006.11239), section 3.3. Any shape."""
    return pixels.to(torch.float32) / 127.5 - 1


def to_pixels(x: Tensor) -> Tensor:
    """[-1, 1] to bytes, rounded; what lies outside is cut off. Any shape."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
