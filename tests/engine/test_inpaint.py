"""What the mask covers is drawn anew; every pixel outside it and its feather is the source's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine.generate import Generation
from studio.engine.inpaint import binary, blend, latent_region, soft_alpha
from studio.errors import InvalidInput
from studio.types import GenerationRequest, Scheduler, Task
from tests.tiny import NATIVE_SIZE

from .conftest import Listener

Requests = Callable[..., GenerationRequest]
BASES = ("little-world", "sd15", "sd15-inpaint")
SIZE = (NATIVE_SIZE, NATIVE_SIZE)


def noise(seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (NATIVE_SIZE, NATIVE_SIZE, 3), np.uint8)
    return Image.fromarray(levels)


def rectangle(left: int = 16, top: int = 24, right: int = 48, bottom: int = 40) -> Image.Image:
    mask = Image.new("L", SIZE)
    mask.paste(255, (left, top, right, bottom))
    return mask


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def drawn(listener: Listener, request: GenerationRequest) -> np.ndarray:
    return pixels(Generation(request).run(listener).images[0])


@pytest.mark.parametrize("base_id", BASES)
@pytest.mark.parametrize("feather", [0, 5])
def test_every_pixel_outside_the_feather_is_the_sources_own(
    listener: Listener, request_for: Requests, base_id: str, feather: int
) -> None:
    mask = rectangle()
    request = request_for(base_id, task=Task.INPAINT, init_image=noise(), mask=mask, strength=1.0, feather=feather)
    picture = drawn(listener, request)
    ys, xs = np.mgrid[:NATIVE_SIZE, :NATIVE_SIZE]
    far = np.hypot(np.maximum(np.maximum(16 - xs, xs - 47), 0), np.maximum(np.maximum(24 - ys, ys - 39), 0)) > feather
    np.testing.assert_array_equal(picture[far], pixels(noise())[far])
    inside = pixels(mask) == 255
    assert (picture[inside] != pixels(noise())[inside]).any(axis=-1).mean() > 0.9


@pytest.mark.parametrize("base_id", BASES)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inside_a_mask_of_whole_blocks_it_is_stock_diffusers(
    listener: Listener, request_for: Requests, models_root: Path, base_id: str, strength: float
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    from studio.engine.views import build_scheduler

    request = request_for(base_id, task=Task.INPAINT, init_image=noise(), mask=rectangle(), strength=strength)
    stock = StableDiffusionInpaintPipeline.from_pretrained(models_root / base_id, dtype=torch.float32)
    stock.scheduler = build_scheduler(request.scheduler, stock.scheduler.config)
    stock.set_progress_bar_config(disable=True)
    picture = stock(
        request.prompt,
        image=noise(),
        mask_image=rectangle(),
        strength=strength,
        width=NATIVE_SIZE,
        height=NATIVE_SIZE,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        generator=[torch.Generator("cpu").manual_seed(request.seed)],
    ).images[0]
    inside = pixels(rectangle()) == 255
    np.testing.assert_array_equal(drawn(listener, request)[inside], pixels(picture)[inside])


@pytest.mark.parametrize("scheduler", Scheduler)
def test_with_no_noise_left_at_the_end_latent_blending_keeps_what_is_outside(
    listener: Listener, request_for: Requests, scheduler: Scheduler
) -> None:
    """A zero-terminal-SNR model begins with noise alone; blending brings the rest back, or all would be drawn anew."""
    flat = Image.new("RGB", SIZE, (90, 120, 150))
    request = request_for(task=Task.INPAINT, init_image=flat, mask=rectangle(), strength=1.0, scheduler=scheduler)
    with listener.registry.lease(listener.registry.key("little-world")) as lease:
        view = lease.view(Task.INPAINT, scheduler)
        latents = view(
            request.prompt,
            image=flat,
            mask_image=rectangle(),
            strength=1.0,
            width=NATIVE_SIZE,
            height=NATIVE_SIZE,
            num_inference_steps=4,
            generator=torch.Generator("cpu").manual_seed(7),
            output_type="latent",
        ).images
        with torch.inference_mode():
            own = view.vae.encode(view.image_processor.preprocess(flat)).latents
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[3:5, 2:6] = False
    torch.testing.assert_close(latents[..., outside], own[..., outside], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(latents[..., ~outside], own[..., ~outside], atol=0.1)


def test_a_thin_stroke_reaches_every_block_that_it_touches() -> None:
    mask = np.zeros((16, 32), np.uint8)
    mask[5, 6:10] = 255
    region = pixels(latent_region(soft_alpha(Image.fromarray(mask), 0), 8))
    expected = np.zeros((16, 32), int)
    expected[:8, :16] = 255
    np.testing.assert_array_equal(region, expected)


def test_the_feather_falls_evenly_and_ends() -> None:
    mask = Image.new("L", (32, 8))
    mask.paste(255, (0, 0, 8, 8))
    alpha = soft_alpha(mask, 3)
    np.testing.assert_allclose(alpha[4, 6:13], [1, 1, 0.75, 0.5, 0.25, 0, 0], atol=1e-6)


def test_without_feather_a_pixel_is_new_or_old() -> None:
    assert set(np.unique(soft_alpha(rectangle(), 0))) == {0.0, 1.0}


def test_blending_mixes_by_alpha() -> None:
    old, new = (Image.new("RGB", (4, 1), (level,) * 3) for level in (10, 210))
    alpha = np.array([[0, 0.25, 0.5, 1]], np.float32)
    assert pixels(blend(old, new, alpha))[0, :, 0].tolist() == [10, 60, 110, 210]


def test_inverting_swaps_what_is_drawn() -> None:
    both = pixels(binary(rectangle())) + pixels(binary(rectangle(), invert=True))
    assert np.unique(both).tolist() == [255]


@pytest.mark.parametrize(("level", "invert"), [(0, False), (127, False), (255, True)])
def test_a_mask_of_nothing_is_refused(level: int, invert: bool) -> None:
    with pytest.raises(InvalidInput) as refused:
        binary(Image.new("L", SIZE, level), invert)
    assert refused.value.key == "empty_mask"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"mask": Image.new("L", (8, 8), 255)}, "picture_of_another_size"),
        ({"mask": Image.new("L", SIZE)}, "empty_mask"),
        ({"mask": None}, "needs_image"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_by_its_name(
    listener: Listener, request_for: Requests, changes: dict[str, Image.Image | None], key: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        drawn(listener, request_for(task=Task.INPAINT, init_image=noise(), **changes))
    assert (refused.value.key, refused.value.values["field"]) == (key, "mask")


@pytest.mark.parametrize("task", [Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE])
def test_an_inpainting_checkpoint_does_nothing_else(listener: Listener, request_for: Requests, task: Task) -> None:
    with pytest.raises(InvalidInput) as refused:
        drawn(listener, request_for("sd15-inpaint", task=task, init_image=noise()))
    assert refused.value.values["field"] == "task"
