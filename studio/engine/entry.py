"""Where a picture enters the process: noised to a timestep t, and drawn from there on.

x_t = sqrt(alpha_bar_t) z_0 + sqrt(1 - alpha_bar_t) eps          SDEdit (2108.01073); DDPM (2006.11239), eq. 4
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.engine.loaders import ComponentSet
from studio.engine.views import build_scheduler
from studio.errors import InvalidInput
from studio.types import GenerationRequest, Scheduler, Task

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Entry:
    """One entry point. timestep: the model's own, of len(alpha_bars); signal, noise: sqrt(alpha_bar_t) and
    sqrt(1 - alpha_bar_t), so that signal² + noise² = 1; steps: that are run, of `total`."""

    timestep: int
    signal: float
    noise: float
    steps: int
    total: int
    alpha_bars: tuple[float, ...]


def steps_to_run(total: int, strength: float) -> int:
    """How many of the steps are run, as diffusers counts them. Raises InvalidInput where none is left."""
    steps = min(int(total * strength), total)
    if steps < 1:
        raise InvalidInput("no_step_left", field="strength", steps=total, strength=strength)
    return steps


def steps_of(request: GenerationRequest) -> int:
    """How many steps a request runs."""
    if request.task is Task.TEXT_TO_IMAGE:
        return request.num_inference_steps
    return steps_to_run(request.num_inference_steps, request.strength)


def entry_of(components: ComponentSet, scheduler: Scheduler, total: int, strength: float) -> Entry:
    """Where a picture enters with these settings. Raises InvalidInput where no step is left."""
    steps = steps_to_run(total, strength)
    sampler = build_scheduler(scheduler, components.components["scheduler"].config)
    sampler.set_timesteps(total)
    timestep = sampler.timesteps[-steps:][:1]
    signal, noise = _shares(sampler, timestep)
    length = (signal**2 + noise**2) ** 0.5
    alpha_bars = tuple(sampler.alphas_cumprod.tolist())
    return Entry(round(float(timestep)), signal / length, noise / length, steps, total, alpha_bars)


def watch_start(view: Any, steps: int, tell: Callable[[torch.Tensor, int], None]) -> None:
    """Have a view tell the noised latents (B, C, h, w) that it begins with, of variance one with every sampler.

    view: belongs to one call alone, which runs the last `steps` of its scheduler's steps; tell(latents, steps).
    """
    prepare = view.prepare_latents

    @functools.wraps(prepare)
    def telling(*args: Any, **kwargs: Any) -> Any:
        prepared = prepare(*args, **kwargs)
        latents = prepared[0] if isinstance(prepared, tuple) else prepared
        signal, noise = _shares(view.scheduler, view.scheduler.timesteps[-steps:][:1])
        tell(latents / (signal**2 + noise**2) ** 0.5, steps)
        return prepared

    view.prepare_latents = telling


def _shares(scheduler: Any, timestep: torch.Tensor) -> tuple[float, float]:
    """By what a scheduler multiplies picture and noise at a timestep, (1,): Euler works on x_t / sqrt(alpha_bar_t)."""
    import torch

    one, nothing = torch.ones(1, device=timestep.device), torch.zeros(1, device=timestep.device)
    signal = scheduler.add_noise(one, nothing, timestep)
    noise = scheduler.add_noise(nothing, one, timestep)
    return float(signal), float(noise)
