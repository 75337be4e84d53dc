from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine import generate as generating
from studio.engine.generate import Generation
from studio.engine.jobs import JobQueue
from studio.engine.registry import Registry
from studio.engine.views import build_scheduler
from studio.errors import Cancelled, GenerationFailed, InvalidInput
from studio.events import Decoding, Done, Loading, Step, Stopped
from studio.types import GenerationRequest, Scheduler, Task
from tests.tiny import NATIVE_SIZE

from .conftest import Listener

Requests = Callable[..., GenerationRequest]
BASES = ("little-world", "sd15")


def arrays(images: tuple[Image.Image, ...]) -> list[np.ndarray]:
    return [np.asarray(image).astype(int) for image in images]


def draw(listener: Listener, request: GenerationRequest) -> tuple[Image.Image, ...]:
    return Generation(request).run(listener).images


def stock(models_root: Path, request: GenerationRequest, class_name: str, **arguments: Any) -> list[np.ndarray]:
    """The same pictures, from diffusers alone."""
    import diffusers

    pipeline = getattr(diffusers, class_name).from_pretrained(models_root / request.base_id, dtype=torch.float32)
    pipeline.scheduler = build_scheduler(request.scheduler, pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        request.prompt,
        negative_prompt=request.negative_prompt,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        num_images_per_prompt=request.num_images,
        generator=[torch.Generator("cpu").manual_seed(request.seed + i) for i in range(request.num_images)],
        **arguments,
    ).images
    return arrays(tuple(images))


def gradient() -> Image.Image:
    ramp = np.linspace(0, 255, NATIVE_SIZE).astype(np.uint8)
    return Image.fromarray(np.stack([np.tile(ramp, (NATIVE_SIZE, 1))] * 3, axis=-1))


@pytest.mark.parametrize("base_id", BASES)
@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 4.0])
def test_the_pictures_are_those_of_stock_diffusers(
    listener: Listener, request_for: Requests, models_root: Path, base_id: str, guidance_scale: float
) -> None:
    request = request_for(base_id, guidance_scale=guidance_scale, negative_prompt="rain", num_images=2)
    expected = stock(models_root, request, "StableDiffusionPipeline", width=NATIVE_SIZE, height=NATIVE_SIZE)
    np.testing.assert_array_equal(arrays(draw(listener, request)), expected)


@pytest.mark.parametrize("base_id", BASES)
def test_image_to_image_is_that_of_stock_diffusers(
    listener: Listener, request_for: Requests, models_root: Path, base_id: str
) -> None:
    request = request_for(base_id, task=Task.IMAGE_TO_IMAGE, init_image=gradient(), strength=0.5)
    expected = stock(models_root, request, "StableDiffusionImg2ImgPipeline", image=gradient(), strength=0.5)
    np.testing.assert_array_equal(arrays(draw(listener, request)), expected)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"task": Task.IMAGE_TO_IMAGE}, "needs_image"),
        ({"task": Task.INPAINT, "init_image": gradient()}, "needs_image"),
        ({"task": Task.IMAGE_TO_IMAGE, "init_image": gradient(), "strength": 0.1}, "no_step_left"),
        ({"task": Task.IMAGE_TO_IMAGE, "init_image": Image.new("RGB", (8, 8))}, "picture_of_another_size"),
    ],
)
def test_a_task_says_what_it_lacks(
    listener: Listener, request_for: Requests, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        draw(listener, request_for(**changes))
    assert caught.value.key == key


def test_the_same_request_gives_the_same_bytes(listener: Listener, request_for: Requests) -> None:
    def png() -> bytes:
        file = io.BytesIO()
        draw(listener, request_for())[0].save(file, "PNG")
        return file.getvalue()

    assert png() == png()


@pytest.mark.parametrize("scheduler", Scheduler)
def test_each_image_of_a_batch_is_the_one_of_its_own_seed(
    listener: Listener, request_for: Requests, scheduler: Scheduler
) -> None:
    batch = arrays(draw(listener, request_for(num_images=3, seed=7, scheduler=scheduler)))
    alone = [arrays(draw(listener, request_for(seed=seed, scheduler=scheduler)))[0] for seed in (7, 8, 9)]
    assert np.abs(np.array(batch) - np.array(alone)).max() <= 1
    assert np.abs(batch[0] - batch[1]).max() > 1


def test_another_seed_or_prompt_gives_another_picture(listener: Listener, request_for: Requests) -> None:
    pictures = [request_for(), request_for(seed=8), request_for(prompt="一只猫", guidance_scale=30.0)]
    first, *others = (arrays(draw(listener, request))[0] for request in pictures)
    assert all((first != other).any() for other in others)


def test_the_events_tell_the_whole_way(fresh_registry: Registry, request_for: Requests) -> None:
    listener = Listener(fresh_registry)
    draw(listener, request_for())
    kinds = [type(event) for event in listener.events]
    assert kinds == [Loading, Step, Step, Step, Step, Decoding]
    assert [(step.index, step.total) for step in listener.steps] == [(i, 4) for i in (1, 2, 3, 4)]


def test_a_resident_model_is_not_announced_again(listener: Listener, request_for: Requests) -> None:
    draw(listener, request_for())
    listener.events.clear()
    draw(listener, request_for())
    assert isinstance(listener.events[0], Step)


def test_equal_words_are_encoded_once_and_give_the_same_bytes(
    listener: Listener, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[tuple[str, str, float]] = []
    encode = generating._encode

    def counted(view: Any, request: GenerationRequest) -> Any:
        encoded.append((request.prompt, request.negative_prompt, request.guidance_scale))
        return encode(view, request)

    monkeypatch.setattr(generating, "_encode", counted)
    first = draw(listener, request_for(prompt="a cat"))
    draw(listener, request_for(prompt="a cat", seed=5))
    again = draw(listener, request_for(prompt="a cat"))
    assert encoded == [("a cat", "", request_for().guidance_scale)]
    assert [one.tobytes() for one in again] == [one.tobytes() for one in first]
    draw(listener, request_for(prompt="a cat", negative_prompt="rain"))
    draw(listener, request_for(prompt="a cat", negative_prompt="rain", guidance_scale=1.0))
    assert len(encoded) == 3


@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_step_shows_a_preview_of_each_image_in_its_size(
    listener: Listener, request_for: Requests, scheduler: Scheduler
) -> None:
    draw(listener, request_for(num_images=2, width=64, height=96, scheduler=scheduler))
    assert all([preview.size for preview in step.previews] == [(64, 96)] * 2 for step in listener.steps)


@pytest.mark.parametrize("scheduler", Scheduler)
def test_the_last_preview_shows_the_finished_latents(
    listener: Listener, request_for: Requests, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, torch.Tensor] = {}
    previews, decode = generating.Previews, generating.decode

    def keep_denoised(denoised: torch.Tensor, *rest: Any) -> Any:
        seen["denoised"] = denoised
        return previews(denoised, *rest)

    def keep_latents(view: Any, latents: torch.Tensor) -> Any:
        seen["latents"] = latents
        return decode(view, latents)

    monkeypatch.setattr(generating, "Previews", keep_denoised)
    monkeypatch.setattr(generating, "decode", keep_latents)
    draw(listener, request_for(num_inference_steps=8, scheduler=scheduler))
    torch.testing.assert_close(seen["denoised"], seen["latents"], atol=1e-3, rtol=1e-3)


def test_a_cancel_leaves_at_the_next_step(registry: Registry, request_for: Requests) -> None:
    listener = Listener(registry, stop_after=2)
    with pytest.raises(Cancelled):
        draw(listener, request_for(num_inference_steps=20))
    assert len(listener.steps) == 2


def test_a_cancel_leaves_the_model_as_it_was(registry: Registry, request_for: Requests) -> None:
    before = arrays(draw(Listener(registry), request_for()))
    with pytest.raises(Cancelled):
        draw(Listener(registry, stop_after=2), request_for())
    np.testing.assert_array_equal(arrays(draw(Listener(registry), request_for())), before)
    assert torch.is_grad_enabled()
    assert all(one.leases == 0 for one in registry.snapshot().resident)


def test_latents_that_are_not_finite_are_an_error_with_a_name(fresh_registry: Registry, request_for: Requests) -> None:
    with fresh_registry.lease(fresh_registry.key("little-world")) as lease:
        lease.components.components["unet"].conv_out.bias.fill_(float("nan"))
    with pytest.raises(GenerationFailed) as caught:
        draw(Listener(fresh_registry), request_for())
    assert (caught.value.key, caught.value.values) == ("latents_not_finite", {"step": 1})


def test_pixels_that_are_not_finite_are_an_error_with_a_name(fresh_registry: Registry, request_for: Requests) -> None:
    with fresh_registry.lease(fresh_registry.key("sd15")) as lease:
        lease.components.components["vae"].decoder.conv_out.bias.fill_(float("inf"))
    with pytest.raises(GenerationFailed) as caught:
        draw(Listener(fresh_registry), request_for("sd15"))
    assert caught.value.key == "pixels_not_finite"


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("... can't allocate memory")]
)
def test_out_of_memory_is_told_and_the_next_picture_succeeds(
    listener: Listener, request_for: Requests, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(generating, "decode", fail)
        with pytest.raises(GenerationFailed) as caught:
            draw(listener, request_for())
    assert caught.value.key == "out_of_memory"
    assert caught.value.__context__ is None
    assert draw(listener, request_for())


def test_another_runtime_error_is_not_called_out_of_memory(
    listener: Listener, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(generating, "decode", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        draw(listener, request_for())


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({"prompt": "a" * 62}, ()),
        ({"prompt": "a" * 63}, ("prompt_truncated",)),
        ({"negative_prompt": "a" * 63}, ("negative_prompt_truncated",)),
    ],
)
def test_a_text_that_is_cut_is_noted(
    listener: Listener, request_for: Requests, changes: dict[str, Any], notes: tuple[str, ...]
) -> None:
    assert Generation(request_for(**changes)).run(listener).notes == notes


def test_a_prompt_never_reaches_the_log(
    listener: Listener, request_for: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    draw(listener, request_for(prompt="secret " * 30))
    assert "secret" not in caplog.text


def test_every_note_has_a_sentence_in_both_languages() -> None:
    from studio.text import LANGUAGES, t

    for note in ("prompt_truncated", "negative_prompt_truncated"):
        assert all(t(f"note.{note}", language) for language in LANGUAGES)


def test_the_result_tells_what_it_cost_and_from_which_weights(fresh_registry: Registry, request_for: Requests) -> None:
    result = Generation(request_for()).run(Listener(fresh_registry))
    timings = result.timings
    assert min(timings.load_seconds, timings.encode_seconds, timings.denoise_seconds, timings.decode_seconds) > 0.0
    assert result.peak_bytes > 10_000_000
    assert len(result.model_sha256) == 64


def test_a_queue_draws_a_picture_and_cancels_another(registry: Registry, request_for: Requests) -> None:
    queue = JobQueue(registry)
    try:
        job = queue.submit(Generation(request_for()), "me")
        assert isinstance(list(job.tail(60))[-1], Done)
        long = queue.submit(Generation(request_for(num_inference_steps=100)), "me")
        tail = long.tail(60)
        while not isinstance(next(tail), Step):
            pass
        queue.cancel(long.id, "me")
        assert list(tail)[-1] == Stopped()
    finally:
        queue.close()
