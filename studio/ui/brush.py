"""A sheet to draw on. `assets/brush.js` draws it; its value is a picture as a data address.

It is told at once with each stroke, and as a part of the page: nothing is uploaded on the way, so that whoever asks for
the value finds the newest strokes in it.
"""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import gradio as gr
from PIL import Image

from studio.engine.pictures import MAX_BYTES, open_picture
from studio.errors import InvalidInput
from studio.settings import ROOT
from studio.text import LANGUAGES, t
from studio.ui.widgets import script

SCRIPT = (ROOT / "assets" / "brush.js").read_text(encoding="utf-8")
PLACE = '<div class="brush-place"></div>'
SAYINGS = ("clear", "draw", "erase", "restore", "thickness", "tools", "undo")
OWN_SAYINGS = ("canvas", "help")
DRAWN, UNDER = "data:image/png;base64,", "data:image/webp;base64,"
"""How a value begins: what is drawn, and a picture on its way under the sheet."""


def draw_brush(
    elem_id: str,
    texts: str,
    ink: str,
    paper: str | None,
    widths: tuple[int, int, int],
    under: bool,
    visible: bool = True,
) -> gr.HTML:
    """The widget. texts: <texts>.canvas and .help in assets/i18n; ink, paper: colours of what is drawn and erased, None
    for nothing at all; widths: of the brush in pixels, the least, the usual and the most; under: whether a picture that
    is sent lies under the sheet, rather than being drawn on."""
    said = {
        language: {
            **{name: t(f"brush.{name}", language) for name in SAYINGS},
            **{name: t(f"{texts}.{name}", language) for name in OWN_SAYINGS},
        }
        for language in LANGUAGES
    }
    written = script(SCRIPT, texts=said, ink=ink, paper=paper, widths=widths, under=under)
    return gr.HTML("", html_template=PLACE, js_on_load=written, elem_id=elem_id, visible=visible)


def drawn_on(picture: Image.Image) -> str:
    """A picture as the value of a sheet that is drawn on."""
    return DRAWN + _encoded(picture, "PNG")


def laid_under(picture: Image.Image) -> str:
    """A picture as the value of a sheet that it lies under."""
    return UNDER + _encoded(picture, "WEBP")


def _encoded(picture: Image.Image, file_format: str) -> str:
    file = BytesIO()
    picture.save(file, file_format, lossless=True)
    return base64.b64encode(file.getvalue()).decode()


def bytes_of(value: Any, field: str) -> bytes | None:
    """The PNG that was drawn; None where nothing was. Raises InvalidInput by the name of the field."""
    if not isinstance(value, str) or not value.startswith(DRAWN):
        return None
    if len(value) > MAX_BYTES:
        raise InvalidInput("upload_too_big", field=field, maximum_mb=MAX_BYTES // 2**20, value_mb=len(value) // 2**20)
    try:
        return base64.b64decode(value.removeprefix(DRAWN), validate=True)
    except ValueError as error:
        raise InvalidInput("upload_damaged", field=field) from error


def read_drawn(value: Any, field: str) -> Image.Image:
    """What was drawn, RGB. Raises InvalidInput by the name of the field, also where nothing was."""
    data = bytes_of(value, field)
    if data is None:
        raise InvalidInput("needs_image", field=field)
    return open_picture(data, field).image
