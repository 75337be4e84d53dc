"""Image to image: a picture is noised to some strength and drawn again, and what that does to it is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image

from studio.engine.entry import steps_to_run
from studio.engine.generate import Generation
from studio.engine.pictures import Opened
from studio.engine.strengths import StrengthSweep
from studio.tabs.text2img import request_of, show
from studio.types import GenerationRequest, ModelSpec, Tab, Task
from studio.ui.board import draw_buttons, draw_settings, draw_texts
from studio.ui.endpoint import Answer, offer, stream_from
from studio.ui.lights import draw_lights, lights_of
from studio.ui.pictures import draw_pictures
from studio.ui.run import JobFlow, Updates, browser_state, draw_panel
from studio.ui.services import Services
from studio.ui.source import draw_source, prepared
from studio.ui.strength import draw_strength
from studio.ui.widgets import card, random_seed

NAME = "img2img"
MAX_SCENE_SIDE = 512
"""In pixels: the little world renders no larger picture."""
MIN_SCENE_SIDE = 32
# The order in which a program gives them.
# fmt: off
ENDPOINT_FIELDS = (
    "source", "prompt", "negative_prompt", "strength", "seed", "width", "height", "num_inference_steps",
    "guidance_scale", "scheduler", "base_id", "precision", "fit", "ground",
)
# fmt: on


def build(services: Services) -> None:
    """Draw the page and wire it."""
    specs = services.studio.specs_for(Task.IMAGE_TO_IMAGE)
    with gr.Column(elem_classes="studio-board studio-board-source"):
        with card("img2img.card.source", "source"):
            source = draw_source(NAME)
        with card("text2img.card.prompt", "prompt"):
            texts = draw_texts(NAME)
            strength = draw_strength(Task.IMAGE_TO_IMAGE, NAME)
            start, stop = draw_buttons(NAME)
        with card("text2img.card.result", "result"):
            panel = draw_panel(start, stop, f"{NAME}-")
            pictures = draw_pictures(f"{NAME}-", "img2img.empty_hint")
            lights = draw_lights(NAME)
        with card("text2img.card.settings", "settings"):
            fields = draw_settings(services, specs, {**texts, "strength": strength.slider}, NAME)
    source.connect(services, NAME, fields, scene)
    strength.connect(services, fields)
    pictures.connect(services)
    every = {**fields, **source.fields}
    job_id = browser_state(f"{NAME}.job")
    flow = JobFlow(services.studio, panel, services.owner, job_id, pictures.outputs, partial(show, services, pictures))

    def wish(keep_seed: object, **values: object) -> tuple[Generation, Updates]:
        """A wish's work; its seed is written where it can be read."""
        if keep_seed is not True:
            values["seed"] = random_seed()
        request, _ = request_from(specs, **values)
        return Generation(request), {fields["seed"]: request.seed}

    flow.connect(services.opening, every, wish, [fields["seed"]])

    def sweep(keep_seed: object, **values: object) -> StrengthSweep:
        """What the lights are found by."""
        return StrengthSweep(request_from(specs, **values)[0])

    lights.connect(services, every, sweep, lights_of)
    publish(services, every, specs)


def request_from(specs: Mapping[str, ModelSpec], **values: Any) -> tuple[GenerationRequest, Opened]:
    """The request of raw values from outside, and its picture as it was opened. Raises InvalidInput."""
    source, fit, ground = (values.pop(name, None) for name in ("source", "fit", "ground"))
    request = request_of(specs, **values, task=Task.IMAGE_TO_IMAGE)
    steps_to_run(request.num_inference_steps, request.strength)
    picture, opened = prepared(source, (request.width, request.height), fit, ground)
    return replace(request, init_image=picture), opened


def scene(side: int, language: str) -> tuple[Image.Image, str]:
    """A picture of the little world, and its caption."""
    import numpy as np

    from studio.world.caption import caption
    from studio.world.render import render_image
    from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

    rng = np.random.default_rng()
    drawn = scene_of_seed(int(rng.integers(FIRST_HELD_OUT_SEED)))
    pixels = render_image(drawn, min(MAX_SCENE_SIDE, max(MIN_SCENE_SIDE, side)))
    return Image.fromarray(pixels), caption(drawn, rng, language, complete=True)


def publish(services: Services, fields: dict[str, Any], specs: Mapping[str, ModelSpec]) -> None:
    """Offer the same to programs, as the endpoint /img2img."""

    def img2img(
        request: gr.Request,
        image: Any,
        prompt: str,
        negative_prompt: str,
        strength: float,
        seed: int,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        sampler: str,
        model: str,
        precision: str,
        fit: str,
        ground: str,
    ) -> Iterator[Answer]:
        """Draw one picture from another one.

        Args:
            image: The picture to begin with: PNG, JPEG, WebP, or the first frame of a GIF.
            prompt: What the new picture shows, in English or Chinese.
            negative_prompt: What it shall not show.
            strength: From 0, nothing changes, to 1, nearly nothing is kept; this share of the steps is run.
            seed: The same seed gives the same picture; null draws one.
            width: Pixels, a multiple of 8.
            height: Pixels, a multiple of 8.
            steps: Denoising steps.
            guidance: How strictly the prompt is followed; 1 turns guidance off.
            sampler: One of ddim, euler, dpmpp_2m, unipc.
            model: Which model draws.
            precision: exact or fast.
            fit: How the picture comes to that size: crop, fit or stretch.
            ground: The colour under what is transparent and beside what is fitted: white, grey or black.

        Returns:
            The picture, and what it took. Before the end, null and how far it is.
        """
        seed = random_seed() if seed is None else seed
        values = (image, prompt, negative_prompt, strength, seed, width, height, steps, guidance)
        named = dict(zip(ENDPOINT_FIELDS, (*values, sampler, model, precision, fit, ground), strict=True))
        yield from stream_from(services.studio, lambda: request_from(specs, **named), request)

    offer(img2img, [fields[name] for name in ENDPOINT_FIELDS])


TAB = Tab(id=NAME, order=20, build=build)
