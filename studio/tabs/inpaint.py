"""Inpainting: what is painted over is drawn anew, and every other pixel stays exactly as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from studio.engine.entry import steps_to_run
from studio.engine.generate import Generation
from studio.engine.inpaint import binary
from studio.engine.pictures import Opened, source_mask
from studio.tabs.img2img import scene
from studio.tabs.text2img import request_of, show
from studio.types import Fit, GenerationRequest, ModelSpec, Tab, Task
from studio.ui.board import draw_buttons, draw_settings, draw_texts
from studio.ui.endpoint import Answer, offer, stream_from
from studio.ui.paint import draw_paint, mask_of, strokes_of
from studio.ui.pictures import draw_pictures
from studio.ui.run import JobFlow, Updates, browser_state, draw_panel
from studio.ui.services import Services
from studio.ui.source import draw_source, prepared, uploaded
from studio.ui.strength import draw_strength
from studio.ui.widgets import card, random_seed

NAME = "inpaint"
# The order in which a program gives them.
# fmt: off
ENDPOINT_FIELDS = (
    "source", "mask", "prompt", "negative_prompt", "strength", "feather", "invert", "seed", "width", "height",
    "num_inference_steps", "guidance_scale", "scheduler", "base_id", "precision", "fit", "ground",
)
# fmt: on
Mask = Callable[[GenerationRequest, Opened], Any]


def build(services: Services) -> None:
    """Draw the page and wire it."""
    specs = services.studio.specs_for(Task.INPAINT)
    with gr.Row(elem_classes="studio-halves"):
        with gr.Column(scale=5, min_width=320, elem_classes="studio-half"):
            with card("img2img.card.source", "source"):
                source = draw_source(NAME)
            with card("inpaint.card.prompt", "prompt"):
                texts = draw_texts(NAME)
                start, stop = draw_buttons(NAME)
            with card("text2img.card.settings", "settings"):
                strength = draw_strength(Task.INPAINT, NAME)
                settings = gr.Column(elem_classes="studio-stack")
        with gr.Column(scale=7, min_width=320, elem_classes="studio-half"):
            with card("inpaint.card.paint", "paint"):
                paint = draw_paint(NAME)
            with card("text2img.card.result", "result"):
                panel = draw_panel(start, stop, f"{NAME}-")
                pictures = draw_pictures(f"{NAME}-", "inpaint.empty_hint")
    with settings:
        own = {**texts, "strength": strength.slider, "feather": paint.feather}
        fields = draw_settings(services, specs, own, NAME)
    source.connect(services, NAME, fields, scene)
    paint.connect(source, fields)
    strength.connect(services, fields)
    pictures.connect(services)
    every = {**fields, **source.fields, **paint.fields}
    job_id = browser_state(f"{NAME}.job")
    flow = JobFlow(services.studio, panel, services.owner, job_id, pictures.outputs, partial(show, services, pictures))

    def wish(keep_seed: object, strokes: object, **values: object) -> tuple[Generation, Updates]:
        """A wish's work; its seed is written where it can be read."""
        if keep_seed is not True:
            values["seed"] = random_seed()
        request, _ = request_from(specs, lambda plain, _: _painted_mask(strokes, plain), **values)
        return Generation(request), {fields["seed"]: request.seed}

    flow.connect(services.opening, every, wish, [fields["seed"]])
    publish(services, every, specs)


def request_from(specs: Mapping[str, ModelSpec], mask: Mask, **values: Any) -> tuple[GenerationRequest, Opened]:
    """The request of raw values from outside, and its picture as it was opened. Raises InvalidInput.

    mask: makes the mask, L of the request's size, once everything else is known to be right.
    """
    source, fit, ground, invert = (values.pop(name, None) for name in ("source", "fit", "ground", "invert"))
    if isinstance(feather := values.get("feather"), float) and feather.is_integer():
        values["feather"] = int(feather)
    request = request_of(specs, **values, task=Task.INPAINT)
    steps_to_run(request.num_inference_steps, request.strength)
    picture, opened = prepared(source, (request.width, request.height), fit, ground)
    return replace(request, init_image=picture, mask=binary(mask(request, opened), invert is True)), opened


def publish(services: Services, fields: dict[str, Any], specs: Mapping[str, ModelSpec]) -> None:
    """Offer the same to programs, as the endpoint /inpaint."""

    def inpaint(
        request: gr.Request,
        image: Any,
        mask: Any,
        prompt: str,
        negative_prompt: str,
        strength: float,
        feather: int,
        invert: bool,
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
        """Draw a part of a picture anew; every pixel outside the mask and its feather stays as it was.

        Args:
            image: The picture: PNG, JPEG, WebP, or the first frame of a GIF.
            mask: A picture of the same size: white is drawn anew, black and transparent stay.
            prompt: What the whole picture shows then, in English or Chinese.
            negative_prompt: What it shall not show.
            strength: 1 draws the part from noise alone; less keeps something of what was there.
            feather: Over so many pixels around the mask old and new are mixed.
            invert: Whether to draw anew what the mask leaves black.
            seed: The same seed gives the same picture; null draws one.
            width: Pixels, a multiple of 8.
            height: Pixels, a multiple of 8.
            steps: Denoising steps.
            guidance: How strictly the prompt is followed; 1 turns guidance off.
            sampler: One of ddim, euler, dpmpp_2m, unipc.
            model: Which model draws.
            precision: exact or fast.
            fit: How picture and mask come to that size: crop, fit or stretch.
            ground: The colour under what is transparent and beside what is fitted: white, grey or black.

        Returns:
            The picture, and what it took. Before the end, null and how far it is.
        """
        seed = random_seed() if seed is None else seed
        values = (image, mask, prompt, negative_prompt, strength, feather, invert, seed, width, height, steps)
        others = (guidance, sampler, model, precision, fit, ground)
        named = dict(zip(ENDPOINT_FIELDS, (*values, *others), strict=True))
        drawn = partial(_uploaded_mask, named.pop("mask"), fit)
        yield from stream_from(services.studio, lambda: request_from(specs, drawn, **named), request)

    mask = gr.Image(format="png", visible=False, label="mask")
    offer(inpaint, [{**fields, "mask": mask}[name] for name in ENDPOINT_FIELDS])


def _painted_mask(strokes: Any, request: GenerationRequest) -> Any:
    """The mask of what was painted on the page."""
    return mask_of(strokes_of(strokes), (request.width, request.height))


def _uploaded_mask(value: Any, fit: str, request: GenerationRequest, opened: Opened) -> Any:
    """The mask of a raw file's value, made to fit as its picture was."""
    return source_mask(uploaded(value, "mask"), opened, (request.width, request.height), Fit(fit))


TAB = Tab(id=NAME, order=30, build=build)
