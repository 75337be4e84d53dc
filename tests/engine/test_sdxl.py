"""SDXL through the engine: tiny models of its exact classes, against diffusers' own pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine.generate import Generation
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.engine.views import build_scheduler
from studio.types import Family, GenerationRequest, Scheduler, Task
from tests.tiny import NATIVE_SIZE

from .conftest import LIMIT_BYTES, Listener

Requests = Callable[..., GenerationRequest]
SIDE = NATIVE_SIZE


def arrays(images: Any) -> np.ndarray:
    return np.stack([np.asarray(image).astype(int) for image in images])


def draw(registry: Registry, request: GenerationRequest) -> np.ndarray:
    return arrays(Generation(request).run(Listener(registry)).images)


def stock(models_root: Path, request: GenerationRequest, class_name: str, **arguments: Any) -> np.ndarray:
    """The same pictures, from diffusers alone; no text at all is told as None, its own default."""
    import diffusers

    pipeline = getattr(diffusers, class_name).from_pretrained(models_root / request.base_id, dtype=torch.float32)
    pipeline.scheduler = build_scheduler(request.scheduler, pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        request.prompt,
        negative_prompt=request.negative_prompt or None,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        num_images_per_prompt=request.num_images,
        generator=[torch.Generator("cpu").manual_seed(request.seed + i) for i in range(request.num_images)],
        **arguments,
    ).images
    return arrays(images)


def gradient() -> Image.Image:
    ramp = np.linspace(0, 255, SIDE).astype(np.uint8)
    return Image.fromarray(np.stack([np.tile(ramp, (SIDE, 1))] * 3, axis=-1))


def half_mask() -> Image.Image:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, SIDE // 2 :] = 255
    return Image.fromarray(mask)


@pytest.mark.parametrize("guidance_scale", [0.0, 5.0])
@pytest.mark.parametrize("negative_prompt", ["", "rain"])
def test_the_pictures_are_those_of_stock_diffusers(
    registry: Registry, request_for: Requests, models_root: Path, guidance_scale: float, negative_prompt: str
) -> None:
    request = request_for("sdxl", guidance_scale=guidance_scale, negative_prompt=negative_prompt, num_images=2)
    expected = stock(models_root, request, "StableDiffusionXLPipeline", width=SIDE, height=SIDE)
    np.testing.assert_array_equal(draw(registry, request), expected)


def test_a_picture_that_is_not_square_has_its_own_time_ids(
    registry: Registry, request_for: Requests, models_root: Path
) -> None:
    request = request_for("sdxl", height=2 * SIDE)
    expected = stock(models_root, request, "StableDiffusionXLPipeline", width=SIDE, height=2 * SIDE)
    np.testing.assert_array_equal(draw(registry, request), expected)


@pytest.mark.parametrize("steps", [1, 4])
def test_turbo_draws_in_few_steps_without_guidance(
    registry: Registry, request_for: Requests, models_root: Path, steps: int
) -> None:
    request = request_for(
        "sdxl-turbo", num_inference_steps=steps, guidance_scale=0.0, scheduler=Scheduler.EULER, num_images=2
    )
    expected = stock(models_root, request, "StableDiffusionXLPipeline", width=SIDE, height=SIDE)
    # Where a number lies between two levels of colour, some processors round it otherwise on the second call.
    np.testing.assert_allclose(np.asarray(draw(registry, request), np.int16), np.asarray(expected, np.int16), atol=1)


def test_one_step_of_euler_is_turbos_own_ancestral_sampler(
    registry: Registry, request_for: Requests, models_root: Path
) -> None:
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline

    request = request_for("sdxl-turbo", num_inference_steps=1, guidance_scale=0.0, scheduler=Scheduler.EULER)
    pipeline = StableDiffusionXLPipeline.from_pretrained(models_root / "sdxl-turbo", dtype=torch.float32)
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(request.seed)
    expected = pipeline(
        request.prompt, num_inference_steps=1, guidance_scale=0.0, generator=generator, width=SIDE, height=SIDE
    ).images
    assert np.abs(draw(registry, request) - arrays(expected)).max() <= 1


def test_image_to_image_is_that_of_stock_diffusers(
    registry: Registry, request_for: Requests, models_root: Path
) -> None:
    request = request_for("sdxl", task=Task.IMAGE_TO_IMAGE, init_image=gradient(), strength=0.5)
    expected = stock(models_root, request, "StableDiffusionXLImg2ImgPipeline", image=gradient(), strength=0.5)
    np.testing.assert_array_equal(draw(registry, request), expected)


def test_inpainting_draws_anew_what_the_mask_covers_and_nothing_else(
    registry: Registry, request_for: Requests, models_root: Path
) -> None:
    request = request_for("sdxl", task=Task.INPAINT, init_image=gradient(), mask=half_mask(), strength=1.0)
    (drawn,) = draw(registry, request)
    expected = stock(
        models_root,
        request,
        "StableDiffusionXLInpaintPipeline",
        image=gradient(),
        mask_image=half_mask(),
        strength=1.0,
        width=SIDE,
        height=SIDE,
    )[0]
    covered = np.asarray(half_mask()) > 127
    np.testing.assert_array_equal(drawn[covered], expected[covered])
    np.testing.assert_array_equal(drawn[~covered], np.asarray(gradient())[~covered])


@pytest.mark.parametrize("task", Task)
def test_every_step_is_previewed(registry: Registry, request_for: Requests, task: Task) -> None:
    listener = Listener(registry)
    pictures = {} if task is Task.TEXT_TO_IMAGE else {"init_image": gradient(), "mask": half_mask()}
    Generation(request_for("sdxl", task=task, strength=1.0, **pictures)).run(listener)
    assert [step.index for step in listener.steps if step.index] == [1, 2, 3, 4]
    assert all(step.previews[0].size == (SIDE, SIDE) for step in listener.steps)


def test_the_inside_of_a_generation_changes_no_pixel(registry: Registry, request_for: Requests) -> None:
    request = request_for("sdxl", prompt="a red house")
    watched = Generation(request, inside=True).run(Listener(registry))
    np.testing.assert_array_equal(arrays(watched.images), draw(registry, request))
    maps = watched.inside.frames[0].maps.astype(float)
    np.testing.assert_allclose(maps.sum(axis=1), 1.0, atol=2e-3)
    assert [word.text for word in watched.inside.words] == ["a", "red", "house"]


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def half(request: pytest.FixtureRequest, families: tuple[Family, ...], models_root: Path) -> Iterator[Registry]:
    """A registry of a device that works in half precision."""
    yield Registry(families, FolderLoader(models_root), LIMIT_BYTES, dtype=request.param)


def autoencoder(registry: Registry) -> Any:
    with registry.lease(registry.key("sdxl")) as lease:
        return lease.components.components["vae"]


def test_an_autoencoder_that_overflows_float16_runs_in_float32(half: Registry) -> None:
    expected = torch.float32 if half.dtype == "float16" else torch.bfloat16
    assert autoencoder(half).dtype == expected


@pytest.mark.parametrize("task", Task)
def test_half_precision_draws_nearly_the_same_and_leaves_the_autoencoder_alone(
    half: Registry, registry: Registry, request_for: Requests, task: Task
) -> None:
    pictures = {} if task is Task.TEXT_TO_IMAGE else {"init_image": gradient(), "mask": half_mask()}
    request = request_for("sdxl", task=task, num_inference_steps=2, strength=1.0, **pictures)
    before = {name: (one.dtype, one.data_ptr()) for name, one in autoencoder(half).named_parameters()}
    difference = np.abs(draw(half, request) - draw(registry, replace(request)))
    assert difference.mean() < 3.0
    assert {name: (one.dtype, one.data_ptr()) for name, one in autoencoder(half).named_parameters()} == before
