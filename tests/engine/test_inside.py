"""What is told of the inside of a generation is what stock diffusers computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine import inside as looking
from studio.engine.generate import Generation
from studio.engine.inside import MAX_FRAMES, MAX_GRID, Inside, kept_steps
from studio.engine.registry import Registry
from studio.events import GenerationResult
from studio.types import GenerationRequest, Scheduler, Task
from tests.tiny import NATIVE_SIZE

from .conftest import Listener

Requests = Callable[..., GenerationRequest]
BASES = ("little-world", "sd15")


def draw(listener: Listener, request: GenerationRequest) -> tuple[GenerationResult, Inside]:
    result = Generation(request, inside=True).run(listener)
    return result, result.inside


def stock(models_root: Path, base_id: str) -> Any:
    """diffusers' own pipeline of a tiny model."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(models_root / base_id, dtype=torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def first_step(pipeline: Any, request: GenerationRequest) -> tuple[torch.Tensor, Any, torch.Tensor, torch.Tensor]:
    """The first x_t, its timestep, and the UNet's outputs without and with the prompt, each from a call of its own."""
    pipeline.scheduler.set_timesteps(request.num_inference_steps)
    side = NATIVE_SIZE // 8
    noise = torch.randn((1, 4, side, side), generator=torch.Generator("cpu").manual_seed(request.seed))
    with torch.no_grad():
        embeds = pipeline.encode_prompt(request.prompt, "cpu", 1, True, request.negative_prompt)
        t = pipeline.scheduler.timesteps[0]
        outputs = [pipeline.unet(noise, t, encoder_hidden_states=one).sample for one in (embeds[1], embeds[0])]
    return noise, t, *outputs


def test_nothing_is_told_to_who_did_not_ask(listener: Listener, request_for: Requests) -> None:
    assert Generation(request_for()).run(listener).inside is None


@pytest.mark.parametrize("base_id", BASES)
def test_the_maps_are_the_attention_of_diffusers_own_explicit_processor(
    listener: Listener, request_for: Requests, models_root: Path, base_id: str
) -> None:
    from diffusers.models.attention_processor import AttnProcessor

    class Explicit(AttnProcessor):
        """Softmax over scores in plain sight, every layer's of the prompt's half kept."""

        def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **rest: Any) -> Any:
            if encoder_hidden_states is not None:
                q, k = attn.to_q(hidden_states[-1:]), attn.to_k(encoder_hidden_states[-1:])
                scores = attn.get_attention_scores(attn.head_to_batch_dim(q), attn.head_to_batch_dim(k))
                seen.append(scores.mean(0))  # (h * w, tokens)
            return super().__call__(attn, hidden_states, encoder_hidden_states, **rest)

    seen: list[torch.Tensor] = []
    request = request_for(base_id, prompt="red, house", num_inference_steps=1, scheduler=Scheduler.DDIM)
    pipeline = stock(models_root, base_id)
    pipeline.unet.set_attn_processor(Explicit())
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(request.seed))
    pipeline(request.prompt, latents=noise, num_inference_steps=1, guidance_scale=4.0, output_type="latent")

    _, inside = draw(listener, request)
    # A token is a letter here, after the mark of the start: r e d , h o u s e with a blank before the house.
    letters = {"red": range(1, 4), "house": range(6, 11)}
    assert [word.text for word in inside.words] == list(letters)
    for column, tokens in enumerate(letters.values()):
        expected = torch.zeros(8, 8)
        for layer in seen:
            side = round(len(layer) ** 0.5)
            map_of_word = layer[:, list(tokens)].sum(1).reshape(1, 1, side, side)
            expected += torch.nn.functional.interpolate(map_of_word, (8, 8), mode="bilinear")[0, 0] / len(seen)
        np.testing.assert_allclose(inside.frames[0].maps[0, column], expected, atol=2e-3)
    assert len(seen) == 4


@pytest.mark.parametrize("base_id", [*BASES, "sdxl"])
@pytest.mark.parametrize(("width", "height"), [(64, 64), (72, 40), (320, 64)])
def test_every_place_gives_all_of_its_attention(
    listener: Listener, request_for: Requests, base_id: str, width: int, height: int
) -> None:
    _, inside = draw(listener, request_for(base_id, width=width, height=height, num_images=2))
    for frame in inside.frames:
        assert frame.maps.shape[:2] == (2, len(inside.words) + 1)
        assert max(frame.maps.shape[2:]) <= MAX_GRID
        np.testing.assert_allclose(frame.maps.astype(float).sum(1), 1.0, atol=2e-3)


@pytest.mark.parametrize("base_id", BASES)
def test_blanking_a_word_changes_its_map(listener: Listener, request_for: Requests, base_id: str) -> None:
    def map_at_the_place_of_red(prompt: str) -> np.ndarray[Any, Any]:
        _, inside = draw(listener, request_for(base_id, prompt=prompt, num_inference_steps=1))
        column = next(i for i, word in enumerate(inside.words) if word.start == 2)
        return inside.frames[0].maps[0, column].astype(float)

    red, blank = map_at_the_place_of_red("a red house"), map_at_the_place_of_red("a xxx house")
    assert np.abs(red - blank).max() > 1e-3


@pytest.mark.parametrize("base_id", BASES)
def test_the_share_of_guidance_is_its_definition(
    listener: Listener, request_for: Requests, models_root: Path, base_id: str
) -> None:
    request = request_for(base_id, guidance_scale=5.0, negative_prompt="rain", scheduler=Scheduler.DDIM)
    _, _, u, c = first_step(stock(models_root, base_id), request)
    expected = np.linalg.norm(5.0 * (c - u)) / np.linalg.norm(u + 5.0 * (c - u))
    _, inside = draw(listener, request)
    assert inside.guidance[0] == pytest.approx([expected], rel=1e-3)
    assert (len(inside.guidance), inside.total_steps) == (4, 4)


def test_without_guidance_there_is_no_share_and_the_maps_are_there(listener: Listener, request_for: Requests) -> None:
    _, inside = draw(listener, request_for(guidance_scale=1.0))
    assert inside.guidance == ()
    np.testing.assert_allclose(inside.frames[0].maps.astype(float).sum(1), 1.0, atol=2e-3)


def test_the_first_frame_is_the_noise_and_the_x0_of_the_velocity(
    listener: Listener, request_for: Requests, models_root: Path
) -> None:
    request = request_for(scheduler=Scheduler.DDIM, num_inference_steps=4)
    pipeline = stock(models_root, "little-world")
    noise, t, u, c = first_step(pipeline, request)
    alpha_bar = float(pipeline.scheduler.alphas_cumprod[t])
    v = u + request.guidance_scale * (c - u)
    x0 = alpha_bar**0.5 * noise - (1 - alpha_bar) ** 0.5 * v  # Progressive Distillation (2202.00512), section 4

    _, inside = draw(listener, request)
    frame = inside.frames[0]
    with listener.registry.lease(listener.registry.key("little-world")) as lease:
        rows = lease.components.latent_rgb
    for picture, latents in ((frame.noisy[0], noise), (frame.denoised[0], x0)):
        rgb = torch.einsum("chw,cr->hwr", latents[0], rows[:4]) + rows[4]
        np.testing.assert_allclose(np.asarray(picture), (rgb.clamp(-1, 1) + 1) * 127.5, atol=1.0)
    assert (frame.index, frame.timestep, frame.noise) == (1, float(t), pytest.approx((1 - alpha_bar) ** 0.5))


@pytest.mark.parametrize("scheduler", Scheduler)
def test_x_t_has_variance_one_with_every_sampler(
    listener: Listener, request_for: Requests, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread: list[float] = []
    pictures = looking.Look._pictures

    def measured(self: Any, latents: torch.Tensor) -> Any:
        spread.append(float(latents.std()))
        return pictures(self, latents)

    monkeypatch.setattr(looking.Look, "_pictures", measured)
    draw(listener, request_for("sd15", scheduler=scheduler, num_inference_steps=8))
    assert spread[0] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("scheduler", Scheduler)
def test_the_last_x0_is_the_last_preview(listener: Listener, request_for: Requests, scheduler: Scheduler) -> None:
    _, inside = draw(listener, request_for(scheduler=scheduler, num_images=2))
    shown = [image.resize((NATIVE_SIZE,) * 2, Image.Resampling.BILINEAR) for image in inside.frames[-1].denoised]
    assert [image.tobytes() for image in shown] == [image.tobytes() for image in listener.steps[-1].previews]


def test_a_model_without_colours_for_its_latents_shows_maps_and_no_strip(
    fresh_registry: Registry, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_registry.lease(fresh_registry.key("sd15")) as lease:
        object.__setattr__(lease.components, "latent_rgb", None)
    _, inside = draw(Listener(fresh_registry), request_for("sd15"))
    assert {frame.noisy + frame.denoised for frame in inside.frames} == {()}
    assert inside.frames[0].maps.size


def test_from_a_picture_only_the_steps_that_are_done_are_told(listener: Listener, request_for: Requests) -> None:
    request = request_for(
        task=Task.IMAGE_TO_IMAGE, init_image=Image.new("RGB", (64, 64)), strength=0.5, num_inference_steps=8
    )
    _, inside = draw(listener, request)
    assert [frame.index for frame in inside.frames] == [1, 2, 3, 4]
    assert len(inside.guidance) == 4


@pytest.mark.parametrize("total", [1, 2, MAX_FRAMES, MAX_FRAMES + 1, 50, 100])
def test_no_more_steps_are_kept_than_fit_and_the_ends_always_are(total: int) -> None:
    kept = sorted(kept_steps(total))
    assert len(kept) == min(total, MAX_FRAMES)
    assert (kept[0], kept[-1]) == (0, total - 1)
    assert np.diff(kept).size == 0 or np.ptp(np.diff(kept)) <= 1


def test_a_long_run_tells_guidance_of_every_step_and_frames_of_some(listener: Listener, request_for: Requests) -> None:
    _, inside = draw(listener, request_for(num_inference_steps=40))
    assert len(inside.guidance) == inside.total_steps == 40
    assert [frame.index - 1 for frame in inside.frames] == sorted(kept_steps(40))
