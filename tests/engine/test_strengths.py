"""What image to image does at every strength, and the lights that say whether that is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine.entry import Entry
from studio.engine.generate import Generation
from studio.engine.strengths import STRENGTHS, Point, Strengths, StrengthSweep, difference, negative, reconstruction
from studio.errors import InvalidInput
from studio.events import Row
from studio.text import LANGUAGES, t
from studio.types import GenerationRequest, Scheduler, Task
from tests.tiny import NATIVE_SIZE

from .conftest import Listener

Requests = Callable[..., GenerationRequest]
SQRT_ALPHA_BAR_T = {"little-world": 0.0, "sd15": 0.0683}


def source() -> Image.Image:
    """A smooth picture with a little of everything."""
    ys, xs = np.mgrid[:NATIVE_SIZE, :NATIVE_SIZE] / NATIVE_SIZE
    levels = np.stack([xs, ys, 0.5 + 0.5 * np.sin(6 * xs * ys)], axis=-1) * 255
    return Image.fromarray(levels.astype(np.uint8))


def wish(request_for: Requests, base_id: str, **changes: object) -> GenerationRequest:
    values = {"num_inference_steps": 20, "guidance_scale": 1.0, "scheduler": Scheduler.DDIM, **changes}
    return request_for(base_id, task=Task.IMAGE_TO_IMAGE, init_image=source(), **values)


def points(*differences: float, signal: float = 0.0, near: float = 1.0) -> tuple[Point, ...]:
    entry = Entry(999, signal, 1.0, 20, 20, (1.0,))
    return tuple(Point(index / 10, entry, value, near) for index, value in enumerate(differences))


def held(strengths: Strengths) -> dict[str, bool]:
    return {light.id: light.holds for light in strengths.lights}


def test_the_lights_of_a_right_sweep_all_hold():
    assert held(Strengths(points(1, 2, 3), 0.0, 1.0)) == {"reconstruction": True, "growing": True, "no_leak": True}


@pytest.mark.parametrize(
    ("strengths", "dark"),
    [
        (Strengths(points(1, 2, 3, near=9.0), 0.0, 1.0), "reconstruction"),
        (Strengths(points(1, 3, 2), 0.0, 1.0), "growing"),
        (Strengths(points(1, 2, 2), 0.0, 1.0), "growing"),
        (Strengths(points(1, 2, 3), 0.5, 1.0), "no_leak"),
        (Strengths(points(1, 2, 3, signal=0.07), 0.0, 1.0), "leak"),
    ],
)
def test_each_light_can_go_out_alone(strengths: Strengths, dark: str):
    assert [name for name, holds in held(strengths).items() if not holds] == [dark]


@pytest.mark.parametrize("base_id", ["little-world", "sd15"])
def test_a_sweep_tells_each_point_and_what_is_left_at_strength_one(
    listener: Listener, request_for: Requests, base_id: str
):
    found = StrengthSweep(wish(request_for, base_id)).run(listener)
    rows = [event.values for event in listener.events if isinstance(event, Row)]
    assert [row["strength"] for row in rows] == [0.01, *STRENGTHS]
    assert [row["to_source"] for row in rows] == [point.to_source for point in found.points]
    assert found.points[-1].entry.signal == pytest.approx(SQRT_ALPHA_BAR_T[base_id], abs=0.04)
    assert (found.exchanged == 0) == (base_id == "little-world")
    assert [(step.index, step.total) for step in listener.steps] == [(i, 7) for i in range(1, 8)]


@pytest.mark.parametrize("base_id", ["little-world", "sd15"])
def test_towards_strength_zero_comes_what_the_autoencoder_gives_back(
    listener: Listener, request_for: Requests, base_id: str
):
    request = wish(request_for, base_id, num_inference_steps=100)
    with listener.registry.lease(listener.registry.key(base_id)) as lease:
        own = reconstruction(source(), lease, request.seed)
    away = [
        difference(Generation(replace(request, strength=strength)).run(listener).images[0], own)
        for strength in (0.01, 0.05, 0.3)
    ]
    assert away[0] < away[1] < away[2]


def test_a_reconstruction_is_decode_of_encode(listener: Listener, request_for: Requests):
    with listener.registry.lease(listener.registry.key("little-world")) as lease:
        vae = lease.components.components["vae"]
        pixels = torch.tensor(np.asarray(source())).permute(2, 0, 1)[None] / 127.5 - 1.0
        with torch.inference_mode():
            kept = vae.decode(vae.encode(pixels).latents).sample[0].permute(1, 2, 0)
        own = reconstruction(source(), lease, 7)
    np.testing.assert_allclose(np.asarray(own), ((kept.clamp(-1, 1) + 1) * 127.5).numpy(), atol=1)


def test_at_strength_one_a_zero_terminal_model_draws_what_text_to_image_draws(
    listener: Listener, request_for: Requests
):
    request = wish(request_for, "little-world", strength=1.0)
    from_picture = Generation(request).run(listener).images[0]
    from_text = Generation(replace(request, task=Task.TEXT_TO_IMAGE, init_image=None)).run(listener).images[0]
    assert np.abs(np.asarray(from_picture).astype(int) - np.asarray(from_text)).max() <= 1


def test_differences_are_levels_of_255():
    black, grey = (Image.new("RGB", (4, 4), (level,) * 3) for level in (0, 100))
    assert (difference(black, grey), difference(black, negative(black))) == (100.0, 255.0)


def test_a_request_without_a_picture_is_refused(listener: Listener, request_for: Requests):
    with pytest.raises(InvalidInput):
        StrengthSweep(request_for()).run(listener)


def test_every_light_has_a_sentence_in_both_languages():
    lights = [light for leak in (0.0, 0.1) for light in Strengths(points(1, 2, signal=leak), 0.0, 1.0).lights]
    assert all(t(f"light.{light.id}", language, **light.values) for light in lights for language in LANGUAGES)
