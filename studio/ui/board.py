"""What every page that draws from a picture has beside the picture: texts, buttons and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from studio.types import ModelSpec
from studio.ui.models import draw_model_choice
from studio.ui.restore import Fill, draw_restore, nothing
from studio.ui.services import Services
from studio.ui.text import label
from studio.ui.widgets import INSTANT, prompt_box, sampling, seed_fields


def draw_texts(prefix: str) -> dict[str, Any]:
    """The two texts by their fields' names. prefix: of their ids on the page."""
    return {
        name: prompt_box(f"text2img.{name}", lines, f"{prefix}-{name}")
        for name, lines in (("prompt", 2), ("negative_prompt", 1))
    }


def draw_buttons(prefix: str) -> tuple[gr.Button, gr.Button]:
    """What starts and stops."""
    with gr.Row(elem_classes="studio-actions"):
        start = gr.Button(
            label("text2img.generate"), variant="primary", min_width=120, scale=3, elem_id=f"{prefix}-generate"
        )
        stop = gr.Button(label("text2img.stop"), interactive=False, min_width=80, scale=1, elem_id=f"{prefix}-stop")
    return start, stop


def draw_settings(
    services: Services,
    specs: Mapping[str, ModelSpec],
    fields: dict[str, Any],
    tab: str,
    others: Sequence[Any] = (),
    fill: Fill = nothing,
) -> dict[str, Any]:
    """The widgets of every other field, and the place that fills all of them, and `fields`, from a picture.

    fields: what the page has drawn already; returns all of them by their names. others: what `fill` fills beside.
    """
    first = next(iter(specs.values()))
    model = draw_model_choice(services, specs, f"{tab}-model")
    knobs = sampling(first, f"{tab}-")
    seed, keep = seed_fields(f"{tab}-")
    services.opening.seed(seed)
    # Not `change`: a picture that is restored brings its model and its settings at once.
    model.input(lambda base_id: knobs.defaults(specs[base_id]), model, list(knobs.defaults(first)), **INSTANT)
    every = {**fields, "base_id": model, **vars(knobs), "seed": seed, "keep_seed": keep}
    draw_restore(every, knobs, specs, tab, others, fill).connect(services.sent)
    return every
