"""Checks of the ways back: which samplers are the same, what the last step does, how fast the error falls."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from studio.checks.check import Check, Subject, differs, distance, standard_errors
from studio.diffusion.mixture import gaussian
from studio.diffusion.samplers import SAMPLERS, SIGMAS, ddim, ddpm, euler
from studio.diffusion.schedules import linear
from studio.diffusion.walk import Sampler, last, spaced

VARIANCE = 0.25
"""Of the Gaussian data whose perfect denoiser is walked with."""
STEPS = 100
PARTICLES = 20_000


def _walk(on: Subject, sampler: Sampler, offset: int = 3) -> Tensor:
    """From the page's noise to the end, with the perfect denoiser of N(0, VARIANCE)."""
    x = on.eps.reshape(-1, 1)[:64]
    times = spaced(on.schedule.T, min(on.schedule.T, STEPS))
    denoise = gaussian(VARIANCE).denoiser(on.schedule)
    return last(sampler(denoise, x, times, on.schedule, on.generator(offset)))


def _ddim_is_ddpm(on: Subject) -> float:
    """eta = 1 against ancestral sampling with beta_tilde, on the same noise."""
    return distance(_walk(on, partial(ddim, eta=1.0)), _walk(on, partial(ddpm, sigma="beta_tilde")))


def _euler_is_ddim(on: Subject) -> float:
    """Euler's step in sigma against DDIM's with eta = 0."""
    return distance(_walk(on, euler), _walk(on, ddim))


def _repeats(on: Subject) -> float:
    """How many values of two walks with different seeds are not the same bits."""
    return differs(_walk(on, ddim, offset=3), _walk(on, ddim, offset=4))


def _last_step(on: Subject) -> float:
    """How many values of the last step depend on the seed, for every choice of sigma."""
    denoise, x = gaussian(VARIANCE).denoiser(on.schedule), on.xt.reshape(-1, 1)
    total = 0.0
    for sigma in SIGMAS:
        one, other = (last(ddpm(denoise, x, [on.t], on.schedule, on.generator(i), sigma)) for i in (3, 4))
        total += differs(one, other)
    return total


def _recursion(on: Subject) -> float:
    """The variance of many walks against v' = a^2 v + sigma^2, in which a is what one step does to x."""
    times = spaced(on.schedule.T, min(on.schedule.T, STEPS))
    denoise, one = gaussian(VARIANCE).denoiser(on.schedule), torch.ones(1, 1, dtype=torch.float64)
    variance = 1.0
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        now, then = on.schedule.alpha_bar(t), on.schedule.alpha_bar(t_next)
        gain = math.sqrt(now) * VARIANCE / (now * VARIANCE + 1 - now)  # x0_hat = gain x_t
        of_x0, of_xt = math.sqrt(then) * (1 - now / then) / (1 - now), math.sqrt(now / then) * (1 - then) / (1 - now)
        variance = (of_x0 * gain + of_xt) ** 2 * variance
        variance += SIGMAS["beta_tilde"](now, then) ** 2 if t_next >= 0 else 0.0
    x = torch.randn(PARTICLES, 1, generator=on.generator(5), dtype=torch.float64)
    walked = last(ddpm(denoise, x.to(one), times, on.schedule, on.generator(6)))
    return standard_errors(walked, 0.0, variance)


def convergence_order(sampler: Sampler, steps: int = 40) -> float:
    """log2 of how much smaller the error is with twice the steps, where the exact answer is known.

    On data N(0, v) the flow of the ODE is x_t' = x_t sqrt(v_t' / v_t), v_t = alpha_bar_t v + 1 - alpha_bar_t.
    Between two inner times of a fine schedule, so that neither end's own step is in it.
    """
    schedule, begin, end = linear(4000), 3360, 800
    variances = [schedule.alpha_bar(t) * VARIANCE + 1 - schedule.alpha_bar(t) for t in (begin, end)]
    exact, one = math.sqrt(variances[1] / variances[0]), torch.ones(1, 1, dtype=torch.float64)
    errors = []
    for count in (steps, 2 * steps):
        times = [begin - (begin - end) * i // count for i in range(count + 1)]
        walk = list(sampler(gaussian(VARIANCE).denoiser(schedule), one, times, schedule))
        errors.append(abs(float(walk[-1].xt) - exact))
    return math.log2(errors[0] / errors[1])


def _order(name: str, order: int) -> Check:
    return Check(
        f"sampler.order_{name}",
        rf"\log_2 (e_h / e_{{h/2}}) = {order}",
        {
            "euler": "Karras et al. (2206.00364), section 3",
            "heun": "Karras et al. (2206.00364), algorithm 1",
            "dpmpp_2m": "Lu et al. (2211.01095), algorithm 2",
        }[name],
        lambda on: abs(convergence_order(SAMPLERS[name]) - order),
        0.2,
    )


CHECKS = (
    Check(
        "sampler.ddim_is_ddpm",
        r"\sigma_t(\eta = 1) = \sqrt{\tilde\beta_t}",
        "DDIM (2010.02502), eq. 16",
        _ddim_is_ddpm,
        1e-9,
        ("eps", "schedule", "seed"),
    ),
    Check(
        "sampler.ddim_repeats",
        r"\eta = 0 \Rightarrow x_0 = f(x_T)",
        "DDIM (2010.02502), eq. 12",
        _repeats,
        0.0,
        ("eps", "schedule", "seed"),
    ),
    Check(
        "sampler.last_step",
        r"z = 0 \text{ at } t = 1",
        "DDPM (2006.11239), algorithm 2",
        _last_step,
        0.0,
        ("x0", "eps", "schedule", "t", "seed"),
    ),
    Check(
        "sampler.recursion",
        r"v_{t-1} = a_t^2 v_t + \tilde\beta_t",
        "DDPM (2006.11239), eq. 7",
        _recursion,
        4.0,
        ("schedule", "seed"),
    ),
    Check(
        "sampler.euler_is_ddim",
        r"y' = y + (\sigma' - \sigma)\, \hat\epsilon, \quad y = x_t / \sqrt{\bar\alpha_t}",
        "DDIM (2010.02502), eq. 13",
        _euler_is_ddim,
        1e-9,
        ("eps", "schedule", "seed"),
    ),
    _order("euler", 1),
    _order("heun", 2),
    _order("dpmpp_2m", 2),
)
