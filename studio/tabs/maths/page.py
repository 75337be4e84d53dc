"""What the sections of the maths tab share: reading what a person set, and laying out what they see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from studio.engine.pictures import fitted, open_picture
from studio.errors import StudioError
from studio.types import Fit
from studio.ui.figure import data_uri
from studio.ui.source import uploaded
from studio.ui.text import describe, label
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor

    from studio.diffusion.schedules import Schedule

SIDE = 256
"""In pixels: how a person's picture is noised."""
USUAL_SEED = 7
LATEX: list[dict[str, str | bool]] = [{"left": "$", "right": "$", "display": False}]
ALERT: dict[str, Any] = {"type": "error", "show_icon": True, "visible": False, "elem_classes": "studio-alert"}


@dataclass(frozen=True)
class Asked:
    """What a person set, checked. picture: SIDE x SIDE."""

    picture: Picture
    schedule: Schedule
    t: int
    seed: int

    def x0(self, side: int = SIDE) -> Tensor:
        """The picture as the maths room takes it, (1, 3, side, side) float64."""
        from studio.engine.noising import to_tensor

        small = self.picture if side == SIDE else self.picture.resize((side, side), Image.Resampling.BOX)
        return to_tensor(small)


def asked(
    image: Any, schedule: object, T: object, zero: object, seed: object, t: object, *points: object
) -> Asked:  # fmt: skip
    """Raw values of the widgets. Raises InvalidInput that names the field and its limits."""
    from studio.engine.noising import schedule_of, whole
    from studio.types import MAX_SEED

    chosen = schedule_of(schedule, T, points, zero)
    return Asked(picture_of(image), chosen, whole("t", t, 0, chosen.T - 1), whole("seed", seed, 0, MAX_SEED))


def formula(key: str) -> None:
    """Draw a sentence with formulas in it; they are set by what comes with the page."""
    gr.Markdown(label(key), latex_delimiters=LATEX)


def picture_of(image: Any) -> Picture:
    """A raw value of the picture's widget, cut to a square; a rendered scene where there is none."""
    if image is None:
        return usual_picture()
    uploaded(image, "image")  # refuses what is no file here, and what is too big
    path = Path(image["path"])
    return _opened(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _opened(path: str, modified: int) -> Picture:
    """A file's picture, cut to a square: a slider asks for the same one again and again."""
    return fitted(open_picture(Path(path).read_bytes(), "image").image, (SIDE, SIDE), Fit.CROP)


@lru_cache(maxsize=1)
def usual_picture() -> Picture:
    """What is noised until somebody brings a picture."""
    from studio.world.render import render_image
    from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

    return Image.fromarray(render_image(scene_of_seed(FIRST_HELD_OUT_SEED + USUAL_SEED), SIDE))


def refused(error: StudioError, language: str) -> dict[str, Any]:
    """What an alert says of a refusal."""
    return gr.update(visible=True, message=describe(error, language))


def accepted() -> dict[str, Any]:
    """What takes a former refusal away."""
    return gr.update(visible=False)


def shown(picture: Picture, alt: str, pixelated: bool = False) -> str:
    """A picture in the page itself."""
    kind = ' class="maths-pixels"' if pixelated else ""
    return f'<img{kind} src="{data_uri(picture, "PNG" if pixelated else "JPEG")}" alt="{plain(alt)}"/>'


def numbers(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, each below its name."""
    listed = "".join(f"<div><dt>{plain(name)}</dt><dd>{plain(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="studio-numbers maths-numbers">{listed}</dl>'


def strip(rows: Sequence[tuple[str, Sequence[Picture]]], captions: Sequence[str], pixelated: bool = False) -> str:
    """Rows of pictures under common captions, which scroll sideways together where there is no room."""
    head = "".join(f"<th>{plain(caption)}</th>" for caption in ("", *captions))
    body = "".join(
        f"<tr><th>{plain(name)}</th>"
        + "".join(f"<td>{shown(picture, name, pixelated)}</td>" for picture in pictures)
        + "</tr>"
        for name, pictures in rows
    )
    return f'<div class="maths-strip" tabindex="0"><table><tr>{head}</tr>{body}</table></div>'


def note(text: str) -> str:
    return f'<p class="studio-note" role="status">{plain(text)}</p>'
