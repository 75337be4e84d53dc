"""The ways back from noise, all called alike: sampler(denoise, x, timesteps, schedule, generator) -> steps.

denoise: (xt, t) -> the guess of x0 (see parameterisations); x: (B, ...) noise at the first of the timesteps;
timesteps: falling, see `walk.spaced`; the last step leads to t = -1, where there is no noise; generator: of the fresh
noise, where a sampler adds any, drawn on the generator's own device. Each `Step` comes as soon as it is done, so that a
caller can show it, stop, or go on from it in another way; `walk.last` runs to the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from studio.diffusion.parameterisations import Denoiser
from studio.diffusion.schedules import Schedule
from studio.diffusion.walk import Sampler, Step, eps_of, fresh, pairs


def ddpm(
    denoise: Denoiser,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    generator: torch.Generator | None = None,
    sigma: str = "beta_tilde",
    noise_at_last: bool = False,
) -> Iterator[Step]:
    """Ancestral sampling: the mean of the step back, and fresh noise after every step but the last.

    x_{t-1} = mu_tilde(x_t, x0_hat) + sigma_t z                            DDPM (2006.11239), algorithm 2, eq. 7
    sigma: a name in SIGMAS. noise_at_last: to see what goes wrong when nothing removes the noise of the last step.
    """
    if sigma not in SIGMAS:
        raise ValueError(f"sigma must be one of {', '.join(SIGMAS)}; it is {sigma}")
    for t, t_next in pairs(timesteps):
        now, then = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        alpha, beta = now / then, 1 - now / then  # of this step, which may skip some times
        x0 = denoise(x, t)
        mean = math.sqrt(then) * beta / (1 - now) * x0 + math.sqrt(alpha) * (1 - then) / (1 - now) * x
        with_noise = t_next >= 0 or noise_at_last
        moved = mean + SIGMAS[sigma](now, then) * fresh(x, generator) if with_noise else mean
        yield Step(t, t_next, x, x0, eps_of(x, x0, now), moved)
        x = moved


def ddim(
    denoise: Denoiser,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    generator: torch.Generator | None = None,
    eta: float = 0.0,
) -> Iterator[Step]:
    """Towards the guessed picture, and along the guessed noise; eta = 0 adds none, eta = 1 as much as DDPM.

    x_{t-1} = sqrt(alpha_bar_{t-1}) x0_hat + sqrt(1 - alpha_bar_{t-1} - sigma^2) eps_hat + sigma z
    sigma = eta sqrt(beta_tilde_t)                                         DDIM (2010.02502), eq. 12, 16
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be from 0 to 1; it is {eta:g}")
    for t, t_next in pairs(timesteps):
        now, then = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        x0 = denoise(x, t)
        eps = eps_of(x, x0, now)
        sigma = eta * sigma_beta_tilde(now, then)
        kept = (1 - then) * (1 - eta**2 + eta**2 * now / then * (1 - then) / (1 - now))  # 1 - then - sigma^2, exactly
        moved = math.sqrt(then) * x0 + math.sqrt(kept) * eps
        if sigma > 0:
            moved = moved + sigma * fresh(x, generator)
        yield Step(t, t_next, x, x0, eps, moved)
        x = moved


def euler(
    denoise: Denoiser,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """One straight step along the ODE of y = x_t / sqrt(alpha_bar_t), whose noise is sigma = sqrt(1/alpha_bar_t - 1).

    y' = y + (sigma' - sigma) dy/dsigma, dy/dsigma = (y - x0_hat) / sigma = eps_hat
                                                  Karras et al. (2206.00364), eq. 3, and DDIM (2010.02502), eq. 13
    Written as x0_hat + sigma' eps_hat, which is the same and finite also where sigma is not.
    """
    for t, t_next in pairs(timesteps):
        now, then = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        x0 = denoise(x, t)
        eps = eps_of(x, x0, now)
        moved = math.sqrt(then) * (x0 + _sigma(then) * eps)
        yield Step(t, t_next, x, x0, eps, moved)
        x = moved


def heun(
    denoise: Denoiser,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Euler's step, then a second look at where it leads: the mean of both slopes. Two guesses a step but the last.

    y' = y + (sigma' - sigma) (d + d') / 2                                 Karras et al. (2206.00364), algorithm 1
    Where sigma is infinite (zero terminal SNR) or sigma' is 0, the step is Euler's.
    """
    for t, t_next in pairs(timesteps):
        now, then = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        x0 = denoise(x, t)
        eps = eps_of(x, x0, now)
        y_next = x0 + _sigma(then) * eps
        if t_next >= 0 and now > 0:
            ahead = math.sqrt(then) * y_next
            eps_ahead = eps_of(ahead, denoise(ahead, t_next), then)
            y_next = x / math.sqrt(now) + (_sigma(then) - _sigma(now)) * (eps + eps_ahead) / 2
        moved = math.sqrt(then) * y_next
        yield Step(t, t_next, x, x0, eps, moved)
        x = moved


def dpmpp_2m(
    denoise: Denoiser,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """DPM-Solver++ of second order: looks back to the last guess instead of asking twice.

    The first and the last step are of first order.

    x' = sigma'/sigma x - alpha' (e^{-h} - 1) D, D = (1 + 1/2r) x0_hat - 1/2r x0_hat_before, r = h_before / h,
    h = lambda' - lambda, lambda = log(alpha / sigma), alpha^2 = alpha_bar, sigma^2 = 1 - alpha_bar
                                                                           Lu et al. (2211.01095), algorithm 2
    """
    before: tuple[Tensor, float] | None = None
    for t, t_next in pairs(timesteps):
        now, then = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        h = _half_log_snr(then) - _half_log_snr(now)
        x0 = denoise(x, t)
        guess = x0
        if before is not None and t_next >= 0:
            guess = x0 + 0.5 * h / before[1] * (x0 - before[0])
        moved = math.sqrt((1 - then) / (1 - now)) * x - math.sqrt(then) * math.expm1(-h) * guess
        yield Step(t, t_next, x, x0, eps_of(x, x0, now), moved)
        x, before = moved, (x0, h)


def sigma_beta(now: float, then: float) -> float:
    """sigma^2 = beta: right where the data are N(0, I). DDPM (2006.11239), section 3.2. now, then: alpha_bars."""
    return math.sqrt(1 - now / then)


def sigma_beta_tilde(now: float, then: float) -> float:
    """sigma^2 = beta_tilde: right where the data are one picture. DDPM (2006.11239), section 3.2, eq. 7."""
    return math.sqrt((1 - now / then) * (1 - then) / (1 - now))


def sigma_zero(now: float, then: float) -> float:
    """No fresh noise: the mean alone, which leaves the pictures too smooth."""
    return 0.0


def sigma_misprinted(now: float, then: float) -> float:
    """beta (1 - alpha_bar_{t-1}) / alpha_bar_t, a misprint of beta_tilde, and no root: to see it fail."""
    return (1 - now / then) * (1 - then) / now if now > 0 else math.inf


SIGMAS: Mapping[str, Callable[[float, float], float]] = {
    "beta": sigma_beta,
    "beta_tilde": sigma_beta_tilde,
    "zero": sigma_zero,
    "misprinted": sigma_misprinted,
}


def _sigma(alpha_bar: float) -> float:
    """sqrt((1 - alpha_bar) / alpha_bar), noise over signal. alpha_bar > 0."""
    return math.sqrt((1 - alpha_bar) / alpha_bar)


def _half_log_snr(alpha_bar: float) -> float:
    """lambda = log sqrt(alpha_bar / (1 - alpha_bar)); infinite at either end."""
    if alpha_bar == 0 or alpha_bar == 1:
        return -math.inf if alpha_bar == 0 else math.inf
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))


SAMPLERS: Mapping[str, Sampler] = {"ddpm": ddpm, "ddim": ddim, "euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
