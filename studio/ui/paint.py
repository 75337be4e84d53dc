"""The mask: painted with a brush over the picture that will be drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import gradio as gr
from PIL import Image

from studio.engine.pictures import MAX_PIXELS, open_picture
from studio.errors import InvalidInput, StudioError
from studio.types import MAX_FEATHER, USUAL_FEATHER
from studio.ui.brush import bytes_of, draw_brush, laid_under
from studio.ui.source import Source, prepared
from studio.ui.text import label
from studio.ui.widgets import INSTANT

SIDE = 512
"""In pixels, of the longer side while it is painted on: a small picture is shown larger."""
INK = "#ff2a6d"
WIDTHS = (6, 36, 140)
"""In pixels of the sheet: the thinnest stroke, the usual one and the thickest."""
PAINTED_ALPHA = 64
"""From this opacity on a stroke counts: its rim is drawn softly."""


@dataclass(frozen=True)
class Paint:
    """The sheet on which a mask is painted, and how the mask is meant."""

    hint: gr.HTML
    sheet: gr.HTML
    feather: gr.Slider
    invert: gr.Checkbox

    @property
    def fields(self) -> dict[str, Any]:
        """Its widgets by the names under which a wish takes them."""
        return {"strokes": self.sheet, "feather": self.feather, "invert": self.invert}

    def connect(self, source: Source, fields: dict[str, Any]) -> None:
        """Lay the picture that will be drawn from under the sheet, whenever it or its size changes."""
        size = [fields["width"], fields["height"]]
        inputs = [source.image, *size, source.fit, source.ground]
        changes = (source.image.change, source.fit.change, source.ground.change, *(side.release for side in size))
        for event in changes:
            event(
                self.prepare,
                inputs,
                [self.hint, self.sheet],
                preprocess=False,
                trigger_mode="always_last",
                **INSTANT,
            )

    def prepare(self, *values: Any) -> dict[Any, Any]:
        """Show what is painted on, or the hint where there is nothing."""
        shown = canvas(*values)
        if shown is None:
            return {self.hint: gr.update(visible=True), self.sheet: gr.update(visible=False, value="")}
        return {self.hint: gr.update(visible=False), self.sheet: gr.update(visible=True, value=laid_under(shown))}


def draw_paint(prefix: str) -> Paint:
    """The widgets. prefix: of their ids on the page."""
    hint = gr.HTML(label("inpaint.hint"), elem_classes="studio-note studio-paint-hint")
    sheet = draw_brush(f"{prefix}-editor", "inpaint.sheet", INK, None, WIDTHS, under=True)
    sheet.visible = False
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
    return Paint(hint, sheet, feather, invert)


def canvas(value: Any, width: Any, height: Any, fit: Any, ground: Any) -> Image.Image | None:
    """What is painted on: the picture as it will be drawn from, large enough for a hand. None without a picture."""
    try:
        picture, _ = prepared(value, (int(width), int(height)), fit, ground)
    except StudioError:  # the place of the picture says why
        return None
    scale = SIDE / max(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)


def strokes_of(value: Any) -> Image.Image | None:
    """The mask that a sheet's strokes make, L: white where there is one. None where there are none."""
    data = bytes_of(value, "mask")
    if data is None:
        return None
    open_picture(data, "mask")  # refuses what is damaged or too large, by its name
    with Image.open(BytesIO(data)) as drawn:
        return drawn.convert("RGBA").getchannel("A").point(lambda alpha: 255 * (alpha >= PAINTED_ALPHA))


def mask_of(value: Any, size: tuple[int, int]) -> Image.Image:
    """A painted mask at the size that is drawn. Raises InvalidInput without one."""
    if not isinstance(value, Image.Image) or value.width * value.height > MAX_PIXELS:
        raise InvalidInput("needs_mask", field="mask")
    return value.resize(size, Image.Resampling.BOX)
