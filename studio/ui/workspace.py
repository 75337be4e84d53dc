"""What travels between tabs: a picture that is drawn again, drawn from, or made larger."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import gradio as gr
from PIL import Image

from studio.engine.upscale import Upscaling, labelled_larger
from studio.errors import StudioError
from studio.events import Done, Failed
from studio.types import Task
from studio.ui.run import follow, owner_of
from studio.ui.services import Sent, Services
from studio.ui.source import uploaded
from studio.ui.text import describe, label, language_of

Updates = dict[Any, Any]
QUEUED: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
"""For handlers that write a gr.State: only in the queue does gradio notice that one has changed. Raw values: a
picture's file still holds its texts."""

HANDED = {"source": "img2img", "paint": "inpaint", "control": "controlnet", "refer": "ip_adapter"}
"""What can be done with a picture in another tab, and which that is."""

STEERING = {
    "ip_adapter": "ip_adapter",
    "lora": "lora",
    "canny": "controlnet",
    "depth": "controlnet",
    "pose": "controlnet",
}
"""Which tab steers a picture by a control."""


def tab_of(request: Mapping[str, Any]) -> str:
    """The tab that draws a recorded request again: that of its task, or that of what steered it."""
    task, controls = str(request["task"]), request.get("controls") or ()
    if task != Task.TEXT_TO_IMAGE or not controls:
        return task
    return STEERING.get(controls[0]["control_id"], task)


def send(services: Services, data: bytes, tab: str, as_input: bool = False) -> Updates:
    """Updates that open a tab and hand it the bytes of a picture that was drawn here."""
    sent = Sent(data, secrets.token_hex(8), tab, as_input)
    return {services.sent: sent, services.tabs: gr.update(selected=tab)}


@dataclass(frozen=True)
class Actions:
    """What can be done with a picture that is there."""

    row: gr.Row
    handing: Mapping[str, gr.Button]
    """The buttons that hand it over, by the tab that then draws from it."""
    larger: gr.Button

    def connect(self, services: Services, image: gr.Image) -> None:
        """Wire the buttons with the place of their picture."""
        for tab, button in self.handing.items():
            hand_over = told(partial(_hand_over, services, tab))
            button.click(hand_over, image, [services.sent, services.tabs], **QUEUED)
        self.larger.click(told(partial(_enlarge, services)), [services.owner, image], image, **QUEUED)


def draw_actions(name: str, visible: bool = False) -> Actions:
    """The row. name: of the picture, for the ids on the page."""
    with gr.Row(visible=visible, elem_classes="studio-picture-actions") as row:
        buttons = {
            action: gr.Button(label(f"workspace.{action}"), size="sm", min_width=0, scale=0, elem_id=f"{name}-{action}")
            for action in (*HANDED, "larger")
        }
    return Actions(row, {tab: buttons[action] for action, tab in HANDED.items()}, buttons["larger"])


def told(handler: Callable[..., Updates]) -> Callable[..., Updates]:
    """The handler as an event calls it; what it refuses is told on the page."""

    def handle(request: gr.Request, *values: object) -> Any:
        language = language_of(request)
        try:
            return handler(*values, language)
        except StudioError as error:
            raise gr.Error(describe(error, language), print_exception=False) from error

    return handle


def _hand_over(services: Services, tab: str, value: object, language: str) -> Updates:
    """Give a shown picture to a tab that draws from it."""
    return send(services, uploaded(value, "init_image"), tab, as_input=True)


def _enlarge(services: Services, owner: object, value: object, language: str) -> Image.Image:
    """A shown picture at twice its sides."""
    return larger(services, owner_of(owner), uploaded(value, "init_image"))


def larger(services: Services, owner: str, data: bytes) -> Image.Image:
    """A picture that was drawn here at twice its sides, through the queue. Raises StudioError where it cannot be."""
    with Image.open(BytesIO(data)) as picture:
        picture.load()
        work = Upscaling(picture.convert("RGB"), services.studio.upscaler)
        texts = dict(picture.info)
    for event in follow(services.studio.jobs.submit(work, owner)):
        if isinstance(event, Done):
            return labelled_larger(event.result, texts)
        if isinstance(event, Failed):
            raise event.error if isinstance(event.error, StudioError) else StudioError("unexpected", kind="upscale")
    raise StudioError("stopped")
