"""Widgets that more than one place of the page draws."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from studio.engine.parameters import SAMPLER_NAMES
from studio.types import (
    MAX_GUIDANCE,
    MAX_IMAGES,
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    MIN_SIDE,
    SIDE_STEP,
    ModelSpec,
    Precision,
)
from studio.ui import antd
from studio.ui.text import label

GUIDANCE_STEP = 0.5
KNOB_WIDTH = 170
"""In pixels: narrower, a slider's name and number no longer stand on one line."""
# For handlers that only fill a widget: no queue, no spinner, not for programs.
INSTANT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
LARGEST_SEED = MAX_SEED - MAX_IMAGES + 1
"""Of the first picture of several."""
LARGEST_NATIVE_MULTIPLE = 2
"""Beyond this multiple of the size that a model was trained on, its pictures fall apart."""


def plain(text: str) -> str:
    """Text as HTML that says nothing else."""
    return escape(text)


def script(text: str, **given: Any) -> str:
    """A script for gr.HTML, which finds these values as `given`. They are part of it: what gr.HTML carries beside it
    is lost where a place is filled before its tab has been opened."""
    return f"const given = {json.dumps(given, ensure_ascii=False)};\n{text}"


@contextmanager
def card(title: str, name: str) -> Iterator[None]:
    """A titled card; its children stand below each other. name: its place in the style sheet."""
    with antd.Card(title=label(title), elem_classes=["studio-card", f"studio-card-{name}"]):
        with gr.Column(elem_classes="studio-stack"):
            yield


def prompt_box(key: str, lines: int, elem_id: str | None = None) -> gr.Textbox:
    """A text that describes a picture. The server names the limit; the box keeps an honest hand below it."""
    return gr.Textbox(
        label=label(key),
        placeholder=label(f"{key}.placeholder"),
        lines=lines,
        max_lines=8,
        max_length=MAX_PROMPT_CHARACTERS,
        elem_id=elem_id or key.replace(".", "-"),
    )


@dataclass(frozen=True)
class Sampling:
    """The widgets that steer how a picture is drawn, and the names of the request's fields that they fill."""

    width: gr.Slider
    height: gr.Slider
    num_inference_steps: gr.Slider
    guidance_scale: gr.Slider
    scheduler: gr.Dropdown
    num_images: gr.Slider
    precision: gr.Radio

    def defaults(self, spec: ModelSpec) -> dict[gr.Slider | gr.Dropdown | gr.Radio, dict[str, object]]:
        """Updates that set a model's own defaults."""
        own, side = spec.defaults, largest_side(spec)
        return {
            self.width: gr.update(value=own.width, maximum=side),
            self.height: gr.update(value=own.height, maximum=side),
            self.num_inference_steps: gr.update(value=own.num_inference_steps),
            self.guidance_scale: gr.update(value=own.guidance_scale),
            self.scheduler: gr.update(value=own.scheduler.value),
            self.precision: gr.update(value=own.precision.value),
        }


def sampling(spec: ModelSpec, prefix: str = "") -> Sampling:
    """Draw the widgets with a model's defaults. prefix: of their ids on the page."""
    own, side = spec.defaults, largest_side(spec)
    with gr.Row():
        images = _slider("num_images", 1, 1, MAX_IMAGES, 1)
        steps = _slider("num_inference_steps", own.num_inference_steps, 1, MAX_STEPS, 1)
    with gr.Row():
        width = _slider("width", own.width, MIN_SIDE, side, SIDE_STEP)
        height = _slider("height", own.height, MIN_SIDE, side, SIDE_STEP)
    with gr.Row():
        guidance = _slider("guidance_scale", own.guidance_scale, 0, MAX_GUIDANCE, GUIDANCE_STEP)
        scheduler = gr.Dropdown(
            [(name, sampler.value) for sampler, name in SAMPLER_NAMES.items()],
            value=own.scheduler.value,
            label=label("text2img.scheduler"),
            min_width=KNOB_WIDTH,
        )
    precision = gr.Radio(
        [(label(f"text2img.precision.{one}"), one.value) for one in Precision],
        value=own.precision.value,
        label=label("text2img.precision"),
        elem_id=f"{prefix}precision",
    )
    return Sampling(width, height, steps, guidance, scheduler, images, precision)


def _slider(name: str, value: float, minimum: float, maximum: float, step: float) -> gr.Slider:
    return gr.Slider(minimum, maximum, value, step=step, label=label(f"text2img.{name}"), min_width=KNOB_WIDTH)


def largest_side(spec: ModelSpec) -> int:
    """In pixels: the page offers no larger picture of this model."""
    return min(MAX_SIDE, LARGEST_NATIVE_MULTIPLE * spec.native_size)


def random_seed() -> int:
    """A seed for a person who has not chosen one."""
    return random.SystemRandom().randint(0, LARGEST_SEED)


def seed_fields(prefix: str = "") -> tuple[gr.Number, gr.Checkbox]:
    """The seed, whether to keep it, and a die that throws a new one to keep. prefix: of its id on the page."""
    with gr.Row(elem_classes="studio-seed"):
        seed = gr.Number(0, precision=0, label=label("text2img.seed"), min_width=120, scale=3)
        keep = gr.Checkbox(False, label=label("text2img.keep_seed"), min_width=90, scale=2, container=False)
        dice = gr.Button(
            label("text2img.dice"),
            size="sm",
            min_width=0,
            scale=0,
            elem_id=f"{prefix}dice",
            elem_classes="studio-dice",
        )
    dice.click(lambda: (random_seed(), True), None, [seed, keep], **INSTANT)
    return seed, keep
