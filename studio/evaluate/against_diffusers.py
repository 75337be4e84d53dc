"""The maths room beside diffusers: each sampler at equal timesteps, each schedule at equal settings."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import diffusers
import torch
from torch import Tensor

from studio.checks import Check, Subject
from studio.diffusion import samplers, schedules
from studio.diffusion.mixture import Mixture
from studio.diffusion.parameterisations import convert, denoiser
from studio.diffusion.schedules import Schedule
from studio.diffusion.walk import Sampler, Spacing, spaced

STEPS = (1, 5, 20, 50)
"""Divisors of 1000: with others diffusers' DDIM steps back to times that it does not visit."""
SIDE = 8
TOLERANCE = 1e-5
"""On schedules from sigma = 0.03 to 15 and 25. At the ends of DDPM's own one, 0.01 and 157, the float32 of diffusers
alone is up to 2e-5 off."""
SIGMA_SPACE = (diffusers.EulerDiscreteScheduler, diffusers.HeunDiscreteScheduler)
"""Their pictures are x_t / sqrt(alpha_bar_t)."""


def _pixels() -> Mixture:
    """Data of two values, so that the perfect prediction bends: each pixel is about -0.6 or about 0.5."""
    column = partial(torch.tensor, dtype=torch.float64)
    return Mixture(column([[-0.6], [0.5]]), column([0.02, 0.05]), column([0.4, 0.6]), torch.tensor([0, 1]))


def _predict_noise(xt: Tensor, t: int, schedule: Schedule) -> Tensor:
    """The perfect noise prediction for independent pixels. (B, C, H, W) -> (B, C, H, W)"""
    x0 = _pixels().posterior_mean(xt.reshape(-1, 1), schedule.alpha_bar(t)).reshape(xt.shape)
    return convert(x0, "x0", "eps", xt, t, schedule)


def _walk_theirs(scheduler: Any, x: Tensor, schedule: Schedule, seed: int, **step: Any) -> list[Tensor]:
    """Every picture of a walk with a scheduler of diffusers, as pictures of ours."""
    generator = torch.Generator().manual_seed(seed)
    times = [int(t) for t in scheduler.timesteps]
    if isinstance(scheduler, diffusers.DDPMScheduler | diffusers.DDIMScheduler):
        step["generator"] = generator
    in_sigma = isinstance(scheduler, SIGMA_SPACE)
    x = x / math.sqrt(schedule.alpha_bar(times[0])) if in_sigma else x
    looks_ahead = isinstance(scheduler, diffusers.HeunDiscreteScheduler)  # then twice at each time, the second counts
    walked = []
    for t, now, then in zip(scheduler.timesteps, times, [*times[1:], -1], strict=True):
        xt = scheduler.scale_model_input(x, t) if in_sigma else x
        x = scheduler.step(_predict_noise(xt, now, schedule), t, x, **step).prev_sample
        if not looks_ahead or now == then or then < 0:
            walked.append(math.sqrt(schedule.alpha_bar(then)) * x if in_sigma else x)
    return walked


def _as_rounded(alphas_cumprod: Tensor) -> Schedule:
    """The schedule that a scheduler really has, which is float32: so the samplers alone are compared."""
    ratios = torch.cat([alphas_cumprod[:1].double(), alphas_cumprod[1:].double() / alphas_cumprod[:-1].double()])
    return Schedule("float32", 1 - ratios)


def sampler_difference(
    on: Subject,
    sampler: Sampler,
    scheduler: type[Any],
    spacing: Spacing = "trailing",
    options: dict[str, Any] | None = None,
    step: dict[str, Any] | None = None,
) -> float:
    """The largest difference between one of our samplers and its scheduler, at any step of walks of STEPS steps."""
    x = torch.randn(2, 3, SIDE, SIDE, generator=on.generator(20), dtype=torch.float64)
    worst = 0.0
    for planned in (schedules.scaled_linear(1000), schedules.linear(1000, 0.00085, 0.012)):
        for steps in STEPS:
            theirs = scheduler(
                num_train_timesteps=planned.T,
                trained_betas=planned.betas.numpy(),
                timestep_spacing=spacing,
                **(options or {}),
            )
            theirs.set_timesteps(steps)
            schedule = _as_rounded(theirs.alphas_cumprod)
            denoise = denoiser(partial(_predict_noise, schedule=schedule), "eps", schedule)
            times = spaced(schedule.T, steps, spacing)
            ours = [s.next for s in sampler(denoise, x, times, schedule, on.generator(21))]
            expected = _walk_theirs(theirs, x, schedule, on.seed + 21, **(step or {}))
            worst = max(worst, float((torch.stack(ours) - torch.stack(expected)).abs().max()))
    return worst


def schedule_difference(ours: Schedule, **options: Any) -> float:
    """The largest difference of alpha_bar between one of our schedules and diffusers', which are float32."""
    theirs = diffusers.DDIMScheduler(num_train_timesteps=ours.T, **options).alphas_cumprod.double()
    return float((ours.alpha_bars - theirs).abs().max())


def _sampler(name: str, sampler: Sampler, scheduler: type[Any], *rest: Any) -> Check:
    measure = partial(_measure_sampler, sampler, scheduler, rest)
    source = f"diffusers {diffusers.__version__}, {scheduler.__name__}"
    return Check(f"diffusers.{name}", r"\max |x_t - x_t^{\mathrm{diffusers}}|", source, measure, TOLERANCE, ("seed",))


def _measure_sampler(sampler: Sampler, scheduler: type[Any], rest: tuple[Any, ...], on: Subject) -> float:
    return sampler_difference(on, sampler, scheduler, *rest)


def _schedule(name: str, ours: Schedule, **options: Any) -> Check:
    formula = r"\max |\bar\alpha_t - \bar\alpha_t^{\mathrm{diffusers}}|"
    source = f"diffusers {diffusers.__version__}, DDIMScheduler"
    return Check(f"diffusers.{name}", formula, source, lambda on: schedule_difference(ours, **options), 1e-6)


NO_CLIP = {"clip_sample": False}
SECOND_ORDER = {"algorithm_type": "dpmsolver++", "solver_order": 2}
STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

CHECKS: tuple[Check, ...] = (
    _sampler(
        "ddpm_beta",
        partial(samplers.ddpm, sigma="beta"),
        diffusers.DDPMScheduler,
        "leading",
        {"variance_type": "fixed_large", **NO_CLIP},
    ),
    _sampler(
        "ddpm_beta_tilde",
        partial(samplers.ddpm, sigma="beta_tilde"),
        diffusers.DDPMScheduler,
        "leading",
        {"variance_type": "fixed_small", **NO_CLIP},
    ),
    _sampler("ddim", samplers.ddim, diffusers.DDIMScheduler, "trailing", NO_CLIP, {"eta": 0.0}),
    _sampler("ddim_eta", partial(samplers.ddim, eta=0.7), diffusers.DDIMScheduler, "trailing", NO_CLIP, {"eta": 0.7}),
    _sampler("euler", samplers.euler, diffusers.EulerDiscreteScheduler),
    _sampler("heun", samplers.heun, diffusers.HeunDiscreteScheduler),
    _sampler("dpmpp_2m", samplers.dpmpp_2m, diffusers.DPMSolverMultistepScheduler, "trailing", SECOND_ORDER),
    _schedule("linear", schedules.linear(1000), beta_schedule="linear"),
    _schedule("scaled_linear", schedules.scaled_linear(1000), **STABLE),
    _schedule("cosine", schedules.cosine(1000), beta_schedule="squaredcos_cap_v2"),
    _schedule(
        "zero_terminal",
        schedules.zero_terminal_snr(schedules.scaled_linear(1000)),
        rescale_betas_zero_snr=True,
        **STABLE,
    ),
)
