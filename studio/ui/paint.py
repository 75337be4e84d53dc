"""The mask: painted with a brush over the picture that will be drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from studio.engine.pictures import MAX_PIXELS
from studio.errors import InvalidInput, StudioError
from studio.types import MAX_FEATHER, USUAL_FEATHER
from studio.ui.services import Services
from studio.ui.source import Source, prepared
from studio.ui.text import label
from studio.ui.widgets import INSTANT

SIDE = 512
"""In pixels, of the longer side while it is painted on: a small picture is shown larger."""
HEIGHT = 460
BRUSH = gr.Brush(default_size=36, colors=[("#ff2a6d", 0.6)], default_color=("#ff2a6d", 0.6), color_mode="fixed")
PAINTED_ALPHA = 64
"""From this opacity on a stroke counts: its rim is drawn softly."""


@dataclass(frozen=True)
class Paint:
    """The editor, what it was last read as (L, or None), and how the mask is meant.

    place: of the editor, which measures itself when it comes: it has to come to a page that is laid out already.
    """

    hint: gr.HTML
    place: gr.Column
    editor: gr.ImageEditor
    mask: gr.State
    feather: gr.Slider
    invert: gr.Checkbox

    @property
    def fields(self) -> dict[str, Any]:
        """Its widgets by the names under which a wish takes them."""
        return {"painted": self.mask, "feather": self.feather, "invert": self.invert}

    def connect(self, services: Services, source: Source, fields: dict[str, Any]) -> None:
        """Show the picture that will be drawn from in the editor, whenever it or its size changes."""
        size = [fields["width"], fields["height"]]
        inputs = [source.image, *size, source.fit, source.ground]
        changes = (source.image.change, source.fit.change, source.ground.change, *(side.release for side in size))
        for event in (*changes, self.editor.clear):
            event(
                self.prepare,
                inputs,
                [self.hint, self.place, self.editor],
                preprocess=False,
                trigger_mode="always_last",
                **INSTANT,
            )

    def prepare(self, *values: Any) -> dict[Any, Any]:
        """Show what is painted on, or the hint where there is nothing."""
        shown = canvas(*values)
        there = shown is not None
        return {self.hint: gr.update(visible=not there), self.place: gr.update(visible=there), self.editor: shown}

    def reading(self, start: gr.Button) -> Any:
        """An event that reads the mask when `start` is clicked: what follows it finds the mask in the state."""
        return start.click(
            painted, self.editor, self.mask, show_progress="hidden", concurrency_limit=None, api_visibility="private"
        )


def draw_paint(prefix: str) -> Paint:
    """The widgets. prefix: of their ids on the page."""
    hint = gr.HTML(label("inpaint.hint"), elem_classes="studio-note studio-paint-hint")
    with gr.Column(visible=False) as place:
        editor = gr.ImageEditor(
            type="pil",
            format="png",
            sources=(),
            transforms=(),
            layers=False,
            brush=BRUSH,
            eraser=gr.Eraser(default_size=36),
            canvas_size=(SIDE, SIDE),
            height=HEIGHT,
            buttons=["fullscreen"],
            label=label("inpaint.editor"),
            elem_id=f"{prefix}-editor",
        )
    feather = gr.Slider(
        0,
        MAX_FEATHER,
        USUAL_FEATHER,
        step=1,
        label=label("text2img.feather"),
        info=label("inpaint.feather_info"),
        elem_id=f"{prefix}-feather",
    )
    invert = gr.Checkbox(
        False, label=label("inpaint.invert"), info=label("inpaint.invert_info"), elem_id=f"{prefix}-invert"
    )
    return Paint(hint, place, editor, gr.State(None), feather, invert)


def canvas(value: Any, width: Any, height: Any, fit: Any, ground: Any) -> dict[str, Any] | None:
    """What is painted on: the picture as it will be drawn from, large enough for a hand. None without a picture."""
    try:
        picture, _ = prepared(value, (int(width), int(height)), fit, ground)
    except StudioError:  # the place of the picture says why
        return None
    scale = SIDE / max(picture.size)
    shown = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    return {"background": shown, "layers": [], "composite": None}


def painted(value: dict[str, Any] | None) -> Image.Image | None:
    """The mask that an editor's strokes make, L: white where there is one. None where there is no canvas."""
    layers = [] if value is None else value["layers"]
    if not layers:
        return None
    alphas = [np.asarray(layer.convert("RGBA").getchannel("A")) for layer in layers]
    strokes = np.maximum.reduce([alpha for alpha in alphas if alpha.shape == alphas[0].shape]) >= PAINTED_ALPHA
    return Image.fromarray(np.where(strokes, np.uint8(255), np.uint8(0)))


def mask_of(value: Any, size: tuple[int, int]) -> Image.Image:
    """A painted mask at the size that is drawn. Raises InvalidInput without one."""
    if not isinstance(value, Image.Image) or value.width * value.height > MAX_PIXELS:
        raise InvalidInput("needs_mask", field="mask")
    return value.resize(size, Image.Resampling.BOX)
