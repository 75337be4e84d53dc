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
from studio.errors import InvalidInput, StudioError
from studio.events import Done, Failed
from studio.types import Task
from studio.ui.button_bar import draw_button_bar
from studio.ui.run import follow, owner_of
from studio.ui.services import Sent, Services
from studio.ui.source import uploaded
from studio.ui.text import describe, language_of

Updates = dict[Any, Any]
QUEUED: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
"""For handlers that write a gr.State: only in the queue does gradio notice that one has changed. Raw values: a
picture's file still holds its texts."""

HANDED = {"source": "img2img", "paint": "inpaint", "control": "controlnet", "refer": "ip_adapter"}
"""What can be done with a picture in another tab, and which that is."""
LARGER = "larger"
"""What can be done with it where it is."""

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
    """What can be done with a picture that is there: a bar of buttons."""

    bar: gr.HTML

    def connect(self, services: Services, image: gr.Image) -> None:
        """Wire the bar with the place of its picture."""
        act = told(partial(_act, services, image))
        self.bar.input(act, [self.bar, services.owner, image], [services.sent, services.tabs, image], **QUEUED)


def draw_actions(name: str, visible: bool = False) -> Actions:
    """The bar. name: of the picture, for the ids on the page."""
    keys = {action: f"workspace.{action}" for action in (*HANDED, LARGER)}
    return Actions(draw_button_bar(name, keys, visible))


def told(handler: Callable[..., Updates]) -> Callable[..., Updates]:
    """The handler as an event calls it; what it refuses is told on the page."""

    def handle(request: gr.Request, *values: object) -> Any:
        language = language_of(request)
        try:
            return handler(*values, language)
        except StudioError as error:
            raise gr.Error(describe(error, language), print_exception=False) from error

    return handle


def _act(services: Services, image: gr.Image, action: object, owner: object, value: object, language: str) -> Updates:
    """Do with a shown picture what was pressed: show it at twice its sides, or give it to a tab that draws from it."""
    data = uploaded(value, "init_image")
    if action == LARGER:
        return {image: larger(services, owner_of(owner), data)}
    return send(services, data, handed_to(action), as_input=True)


def handed_to(action: object) -> str:
    """The tab that an action hands a picture to. Raises InvalidInput for one that is none."""
    if not isinstance(action, str) or action not in HANDED:
        raise InvalidInput("not_a_choice", field="action", value=str(action)[:40], choices=", ".join(HANDED))
    return HANDED[action]


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
