"""Where a picture enters the process, and how it looks there."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine import generate as generating
from studio.engine.entry import entry_of, steps_to_run
from studio.engine.generate import Generation
from studio.engine.registry import Registry
from studio.errors import InvalidInput
from studio.events import Step
from studio.types import GenerationRequest, Scheduler, Task
from tests.tiny import NATIVE_SIZE

from .conftest import Listener

Requests = Callable[..., GenerationRequest]


def alpha_bars(zero_terminal: bool) -> np.ndarray:
    """Products of 1 - beta of the scaled linear schedule, in float64; shifted to end in zero (2305.08891, alg. 1)."""
    roots = np.sqrt(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))
    if zero_terminal:
        roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return roots**2


def source() -> Image.Image:
    ramp = np.linspace(0, 255, NATIVE_SIZE).astype(np.uint8)
    return Image.fromarray(np.stack([np.tile(ramp, (NATIVE_SIZE, 1))] * 3, axis=-1))


@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize(("base_id", "zero_terminal"), [("little-world", True), ("sd15", False)])
@pytest.mark.parametrize("strength", [0.05, 0.5, 1.0])
def test_what_is_left_of_the_picture_is_the_root_of_alpha_bar(
    registry: Registry, scheduler: Scheduler, base_id: str, zero_terminal: bool, strength: float
) -> None:
    with registry.lease(registry.key(base_id)) as lease:
        entry = entry_of(lease.components, scheduler, 20, strength)
    expected = alpha_bars(zero_terminal)[entry.timestep]
    assert entry.signal == pytest.approx(math.sqrt(expected), abs=3e-4)  # 2**-12 in place of 0, but for DDIM
    assert entry.signal**2 + entry.noise**2 == pytest.approx(1)
    assert (entry.steps, entry.total, len(entry.alpha_bars)) == (round(20 * strength), 20, 1000)


@pytest.mark.parametrize("strength", [0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("base_id", ["little-world", "sd15"])
def test_the_entry_is_the_timestep_that_the_first_step_runs_at(
    listener: Listener, request_for: Requests, base_id: str, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(
        base_id, task=Task.IMAGE_TO_IMAGE, init_image=source(), strength=strength, num_inference_steps=20
    )
    with listener.registry.lease(listener.registry.key(base_id)) as lease:
        seen: list[int] = []
        unet = lease.components.components["unet"]
        hook = unet.register_forward_pre_hook(lambda module, args: seen.append(int(args[1])))
        generating.generate(request, lease, listener)
        hook.remove()
        entry = entry_of(lease.components, request.scheduler, 20, strength)
    assert (seen[0], len(seen)) == (entry.timestep, entry.steps)


@pytest.mark.parametrize(("total", "strength"), [(20, 0.04), (1, 0.99), (4, 0.0)])
def test_a_strength_that_leaves_no_step_is_refused(total: int, strength: float) -> None:
    with pytest.raises(InvalidInput) as refused:
        steps_to_run(total, strength)
    assert refused.value.key == "no_step_left"


@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize("task", [Task.IMAGE_TO_IMAGE, Task.INPAINT])
def test_the_first_frame_is_the_picture_with_its_noise(
    listener: Listener, request_for: Requests, scheduler: Scheduler, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.Tensor] = []
    previews = generating.Previews
    monkeypatch.setattr(generating, "Previews", lambda x, *rest: told.append(x) or previews(x, *rest))
    mask = Image.new("L", source().size, 255)
    request = request_for(task=task, init_image=source(), mask=mask, strength=0.5, scheduler=scheduler)
    with listener.registry.lease(listener.registry.key("little-world")) as lease:
        generating.generate(request, lease, listener)
        vae = lease.components.components["vae"]
        pixels = torch.tensor(np.asarray(source())).permute(2, 0, 1)[None] / 127.5 - 1.0
        with torch.inference_mode():
            latents = vae.encode(pixels).latents
        entry = entry_of(lease.components, scheduler, 4, 0.5)
    noise = torch.randn(latents.shape, generator=torch.Generator("cpu").manual_seed(request.seed))
    alpha_bar = alpha_bars(zero_terminal=True)[entry.timestep]
    expected = alpha_bar**0.5 * latents + (1 - alpha_bar) ** 0.5 * noise
    torch.testing.assert_close(told[0], expected.float(), atol=2e-3, rtol=2e-3)
    first = listener.steps[0]
    assert (first.index, first.total, first.previews[0].size) == (0, 2, source().size)


def test_text_to_image_has_no_frame_before_its_first_step(listener: Listener, request_for: Requests) -> None:
    Generation(request_for()).run(listener)
    assert next(event for event in listener.events if isinstance(event, Step)).index == 1
