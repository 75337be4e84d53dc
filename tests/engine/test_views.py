from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from studio.engine.generate import Generation
from studio.engine.loaders import ComponentSet
from studio.engine.registry import Registry
from studio.engine.views import SCHEDULERS, build_scheduler, build_view
from studio.events import GenerationResult
from studio.types import GenerationRequest, Scheduler, Task

from .conftest import Listener

Requests = Callable[..., GenerationRequest]


@pytest.fixture
def components(registry: Registry) -> ComponentSet:
    with registry.lease(registry.key("little-world")) as lease:
        return lease.components


def draw(listener: Listener, request: GenerationRequest) -> GenerationResult:
    return Generation(request).run(listener)


def pixels(result: GenerationResult) -> np.ndarray:
    return np.asarray(result.images[0], dtype=float)


def test_every_scheduler_of_the_studio_has_a_class() -> None:
    assert set(SCHEDULERS) == set(Scheduler)


@pytest.mark.parametrize("scheduler", Scheduler)
def test_zero_terminal_snr_and_trailing_spacing_are_kept(components: ComponentSet, scheduler: Scheduler) -> None:
    built = build_scheduler(scheduler, components.components["scheduler"].config)
    built.set_timesteps(5)
    assert built.config.prediction_type == "v_prediction"
    assert built.alphas_cumprod[-1] < 1e-6
    assert built.timesteps.tolist() == [999, 799, 599, 399, 199]


@pytest.mark.parametrize("base_id", ["little-world", "sd15"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_scheduler_ends_with_finite_latents(
    listener: Listener, request_for: Requests, base_id: str, steps: int, scheduler: Scheduler
) -> None:
    draw(listener, request_for(base_id, num_inference_steps=steps, scheduler=scheduler))
    assert len(listener.steps) == steps


@pytest.mark.parametrize("scheduler", [Scheduler.EULER, Scheduler.DPMPP_2M, Scheduler.UNIPC])
def test_every_scheduler_ends_near_the_picture_of_ddim(
    listener: Listener, request_for: Requests, scheduler: Scheduler
) -> None:
    ddim = draw(listener, request_for(num_inference_steps=20, scheduler=Scheduler.DDIM))
    other = draw(listener, request_for(num_inference_steps=20, scheduler=scheduler))
    assert np.abs(pixels(ddim) - pixels(other)).mean() < 0.5
    assert pixels(ddim).std() > 5.0


def test_views_share_modules_and_not_schedulers(components: ComponentSet) -> None:
    first, second = (build_view(components, "StableDiffusionPipeline", Scheduler.DDIM) for _ in range(2))
    assert first.unet is second.unet is components.components["unet"]
    assert first.scheduler is not second.scheduler
    assert first.scheduler is not components.components["scheduler"]


@pytest.mark.parametrize("task", Task)
def test_a_view_leaves_the_weights_where_and_as_they_are(registry: Registry, task: Task) -> None:
    with registry.lease(registry.key("little-world")) as lease:
        unet = lease.components.components["unet"]
        before = [(name, parameter.dtype, parameter.data_ptr()) for name, parameter in unet.named_parameters()]
        lease.view(task, Scheduler.EULER)
        assert [(name, parameter.dtype, parameter.data_ptr()) for name, parameter in unet.named_parameters()] == before


def test_a_bfloat16_set_stays_bfloat16(registry: Registry) -> None:
    from dataclasses import replace

    with registry.lease(replace(registry.key("little-world"), dtype="bfloat16")) as lease:
        assert lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM).unet.dtype == torch.bfloat16
