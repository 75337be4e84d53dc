"""An editor for the skeletons of a pose map. `assets/skeleton.js` draws it; its value is OpenPose's JSON as text."""

from __future__ import annotations

from functools import cache
from typing import Any

import gradio as gr
import numpy as np

from studio.settings import ROOT
from studio.text import LANGUAGES, t
from studio.ui.widgets import script
from studio.world.maps import JOINT_COLOURS, LIMBS
from studio.world.pose import JOINTS, PROTOTYPES, skeleton
from studio.world.skeleton import MIRRORED, Skeleton, read_skeletons, write_skeletons

SCRIPT = (ROOT / "assets" / "skeleton.js").read_text(encoding="utf-8")
PLACE = '<div class="skeleton-place"></div>'
# fmt: off
SAYINGS = (
    "add", "canvas", "example", "help", "hidden", "json", "json_info", "mirror", "place", "remove", "reset", "save",
    "tools", "use",
)
# fmt: on
FEET, HEIGHT = 0.92, 0.78
"""Where an example stands and how tall it is, as shares of a square picture."""


def draw_skeleton(prefix: str, width: int, height: int) -> gr.HTML:
    """The widget, which shows its value as a text, too, to be copied and replaced.

    prefix: of its id on the page; width, height: of the canvas in pixels.
    """
    start = write_skeletons([Skeleton.standing()], width, height)
    return gr.HTML(
        start,
        html_template=PLACE,
        js_on_load=script(SCRIPT, **given()),
        elem_id=f"{prefix}-skeleton",
    )


def resized(value: str, width: int, height: int) -> str:
    """The same skeletons on a canvas of another size. Raises InvalidInput for what is no such JSON."""
    return write_skeletons(read_skeletons(value), width, height)


def given() -> dict[str, Any]:
    """What the script draws with."""
    drawn = {"joints": JOINTS, "limbs": LIMBS, "colours": JOINT_COLOURS, "mirror": MIRRORED, "examples": examples()}
    return {**drawn, "texts": {language: texts(language) for language in LANGUAGES}}


@cache
def examples() -> dict[str, list[list[float]]]:
    """The joints of each pose that the world knows, (18, 2) as shares of a square picture, by its name."""
    return {name: np.round(skeleton(pose, 0.5, FEET, HEIGHT), 4).tolist() for name, pose in PROTOTYPES.items()}


def texts(language: str) -> dict[str, Any]:
    """What the script says. The places {x}, {y} and {reason} are the script's own to fill."""
    said: dict[str, Any] = {name: t(f"skeleton.{name}", language, x="{x}", y="{y}") for name in SAYINGS}
    said["bad"] = t("error.bad_skeleton", language, reason="{reason}")
    said["joints"] = [t(f"joint.{name}", language) for name in JOINTS]
    said["examples"] = {name: t(f"skeleton.pose.{name}", language) for name in PROTOTYPES}
    return said
