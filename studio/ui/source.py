"""The picture that another one is drawn from: where it comes from, and how it is made to fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from studio.engine.infotext import pixel_sha256, read
from studio.engine.pictures import MAX_BYTES, Opened, source_picture
from studio.errors import InvalidInput, StudioError
from studio.text import t
from studio.types import Fit, Ground
from studio.ui import antd
from studio.ui.restore import HASH_CHARACTERS
from studio.ui.services import Sent, Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import INSTANT, plain

Updates = dict[Any, Any]
HEIGHT = 260
"""In pixels, of the place for the picture."""
Scene = Callable[[int, str], tuple[Image.Image, str]]
"""A picture of at most so many pixels a side, and what it shows, in a language."""


@dataclass(frozen=True)
class Source:
    """The picture and what belongs to it. prompt, negative_prompt: filled with what a picture is known to show."""

    image: gr.Image
    scene: gr.Button
    history: gr.Button
    alert: antd.Alert
    facts: gr.HTML
    fit: gr.Radio
    ground: gr.Dropdown

    @property
    def fields(self) -> dict[str, Any]:
        """Its widgets by the names under which a wish takes them."""
        return {"source": self.image, "fit": self.fit, "ground": self.ground}

    def connect(self, services: Services, tab: str, fields: dict[str, Any], scene: Scene) -> None:
        """Wire it: fields are the page's own, with `prompt`, `width` and `height`; tab: where sent pictures go."""
        prompt, negative = fields["prompt"], fields["negative_prompt"]
        size = [fields["width"], fields["height"]]

        def receive(sent: Sent) -> Updates:
            if sent.tab != tab or not sent.as_input:
                return {prompt: gr.skip()}
            known = read(sent.data, tuple(services.studio.specs)).values  # the studio's own picture, with its texts
            with Image.open(BytesIO(sent.data)) as picture:
                return {self.image: picture.convert("RGB"), prompt: known["prompt"], negative: known["negative_prompt"]}

        def render(request: gr.Request, width: float, height: float) -> Updates:
            picture, caption = scene(round(max(width, height)), language_of(request))
            return {self.image: picture, prompt: caption}

        services.sent.change(receive, services.sent, [self.image, prompt, negative], **INSTANT)
        self.scene.click(render, size, [self.image, prompt], **INSTANT)
        self.history.click(lambda: gr.update(selected="history"), None, services.tabs, **INSTANT)
        checked = {"inputs": [self.image, *size, self.fit, self.ground], "outputs": [self.alert, self.facts]}
        events = [self.image.change, self.fit.change, self.ground.change, *(side.release for side in size)]
        for event in events:
            event(self.tell, **checked, preprocess=False, trigger_mode="always_last", **INSTANT)

    def tell(self, request: gr.Request, value: Any, width: Any, height: Any, fit: Any, ground: Any) -> Updates:
        """What becomes of the picture, or why it cannot be taken."""
        language = language_of(request)
        if value is None:
            return {self.alert: gr.update(visible=False), self.facts: ""}
        try:
            fitted, opened = prepared(value, (int(width), int(height)), fit, ground)
        except StudioError as error:
            return {self.alert: gr.update(visible=True, message=describe(error, language)), self.facts: ""}
        return {self.alert: gr.update(visible=False), self.facts: _facts(fitted, opened, fit, language)}


def prepared(value: Any, size: tuple[int, int], fit: Any, ground: Any) -> tuple[Image.Image, Opened]:
    """A raw value of the picture's widget as a request takes it. Raises InvalidInput that names the field."""
    for name, choice, choices in (("fit", fit, Fit), ("ground", ground, Ground)):
        if not isinstance(choice, str) or choice not in tuple(choices):
            raise InvalidInput("not_a_choice", field=name, value=str(choice)[:40], choices=", ".join(choices))
    return source_picture(uploaded(value, "init_image"), size, Fit(fit), Ground(ground))


def uploaded(value: Any, field: str) -> bytes:
    """The bytes of a raw value of a file's widget; Gradio has made sure that it was uploaded here.

    Raises InvalidInput for no file or one that is too big.
    """
    path = value.get("path") if isinstance(value, dict) else None
    if not isinstance(path, str) or not Path(path).is_file():
        raise InvalidInput("needs_image", field=field)
    file = Path(path)
    if (size_bytes := file.stat().st_size) > MAX_BYTES:
        size = {"maximum_mb": MAX_BYTES // 2**20, "value_mb": -(-size_bytes // 2**20)}
        raise InvalidInput("upload_too_big", field=field, **size)
    return file.read_bytes()


def draw_source(prefix: str) -> Source:
    """The widgets. prefix: of their ids on the page."""
    image = gr.Image(
        sources=["upload", "clipboard"],
        image_mode=None,
        type="filepath",
        format="png",
        height=HEIGHT,
        label=label("source.image"),
        show_label=False,
        buttons=["fullscreen"],
        elem_id=f"{prefix}-source",
        elem_classes="studio-source",
    )
    with gr.Row(elem_classes="studio-examples"):
        scene = gr.Button(label("source.scene"), size="sm", min_width=0, scale=0, elem_id=f"{prefix}-scene")
        history = gr.Button(label("source.history"), size="sm", min_width=0, scale=0, elem_id=f"{prefix}-from-history")
    alert = antd.Alert(
        message="",
        type="error",
        show_icon=True,
        visible=False,
        elem_id=f"{prefix}-refused",
        elem_classes="studio-alert",
    )
    facts = gr.HTML(elem_id=f"{prefix}-source-facts", elem_classes="studio-note studio-source-facts")
    with gr.Row():
        fit = gr.Radio(
            _named("fit", Fit),
            value=Fit.CROP.value,
            label=label("text2img.fit"),
            min_width=240,
            scale=3,
            elem_id=f"{prefix}-fit",
        )
        ground = gr.Dropdown(
            _named("ground", Ground),
            value=Ground.WHITE.value,
            label=label("text2img.ground"),
            min_width=110,
            scale=1,
            elem_id=f"{prefix}-ground",
        )
    return Source(image, scene, history, alert, facts, fit, ground)


def _named(name: str, choices: type[Fit] | type[Ground]) -> list[tuple[Any, str]]:
    """What can be chosen, in a person's language and in ours."""
    return [(label(f"source.{name}.{choice}"), choice.value) for choice in choices]


def _facts(fitted: Image.Image, opened: Opened, fit: str, language: str) -> str:
    """Sizes before and after, what was changed on the way, and the hash that a record tells."""
    before, after = (f"{picture.width} × {picture.height}" for picture in (opened.image, fitted))
    same = opened.image.size == fitted.size
    size = t("source.same_size" if same else f"source.fitted_{fit}", language, before=before, after=after)
    notes = [t(f"note.{note}", language) for note in opened.notes]
    told = t("source.hash", language, hash=pixel_sha256(fitted)[:HASH_CHARACTERS])
    return "<br>".join(plain(line) for line in (size, *notes, told))
