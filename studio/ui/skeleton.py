"""An editor for the skeletons of a pose map. `assets/skeleton.js` draws it; its value is OpenPose's JSON as text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import gradio as gr
import numpy as np

from studio.settings import ROOT
from studio.text import LANGUAGES, t
from studio.ui.text import label
from studio.ui.widgets import INSTANT, script
from studio.ui.workspace import told
from studio.world.maps import JOINT_COLOURS, LIMBS
from studio.world.pose import JOINTS, PROTOTYPES, skeleton
from studio.world.skeleton import MIRRORED, Skeleton, read_skeletons, write_skeletons

SCRIPT = (ROOT / "assets" / "skeleton.js").read_text(encoding="utf-8")
PLACE = '<div class="skeleton-place"></div>'
SAYINGS = ("add", "canvas", "example", "help", "hidden", "mirror", "place", "remove", "reset", "save", "tools")
FEET, HEIGHT = 0.92, 0.78
"""Where an example stands and how tall it is, as shares of a square picture."""


@dataclass(frozen=True)
class SkeletonEditor:
    """html: the editor; text: what it holds, to be read, copied and replaced; use: takes what was written there."""

    html: gr.HTML
    text: gr.Textbox
    use: gr.Button

    def connect(self) -> None:
        """Keep the two in step: a joint that is moved tells the text, a text that is used moves the joints."""
        self.html.input(lambda value: value, self.html, self.text, **INSTANT)
        self.use.click(told(_used), self.text, [self.html, self.text], show_progress="hidden", api_visibility="private")


def draw_skeleton(prefix: str, width: int, height: int) -> SkeletonEditor:
    """The widgets. prefix: of their ids on the page; width, height: of the canvas in pixels."""
    start = write_skeletons([Skeleton.standing()], width, height)
    html = gr.HTML(
        start,
        html_template=PLACE,
        js_on_load=script(SCRIPT, **given()),
        elem_id=f"{prefix}-skeleton",
    )
    with gr.Accordion(label("skeleton.json"), open=False, elem_classes="studio-lights"):
        gr.HTML(label("skeleton.json_info"), elem_classes="studio-note")
        text = gr.Textbox(
            start, show_label=False, label=label("skeleton.json"), lines=4, max_lines=8, elem_id=f"{prefix}-json"
        )
        use = gr.Button(label("skeleton.use"), size="sm", elem_id=f"{prefix}-use-json")
    return SkeletonEditor(html, text, use)


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
    """What the script says. The places {x} and {y} are the script's own to fill."""
    said: dict[str, Any] = {name: t(f"skeleton.{name}", language, x="{x}", y="{y}") for name in SAYINGS}
    said["joints"] = [t(f"joint.{name}", language) for name in JOINTS]
    said["examples"] = {name: t(f"skeleton.pose.{name}", language) for name in PROTOTYPES}
    return said


def _used(text: str, language: str) -> tuple[str, str]:
    """What was written as the editor's value. Raises InvalidInput that says what is wrong with it."""
    read_skeletons(text)
    return text, text
