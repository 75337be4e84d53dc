"""Codes: what the two numbers of small autoencoders mean, with and without a price for straying from N(0, I)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import StudioError
from studio.tabs.maths import costs, page
from studio.tabs.maths.page import accepted, note, refused, shown, strip
from studio.text import t as text
from studio.ui import antd
from studio.ui.figure import Axis, Dots, even_ticks, figure
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.trial import Trial, draw_trial
from studio.ui.widgets import KNOB_WIDTH, card, plain

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from studio.engine.codes import Lab

Updates = dict[Any, Any]
FOLDER, METRICS = "vae-lab", "metrics.json"
NAMES = ("plain", "free", "light", "full", "heavy")
MEASURED = ("mse", "kl", "sigma", "prior_mse")
HELD_OUT, SCALE, MAP_SIDE, DOTS_EDGE = 300, 1.0, 352, 4.0


@dataclass(frozen=True)
class Codes:
    """Which autoencoder, its map, and what a click on it means."""

    which: gr.Radio
    scale: gr.Slider
    alert: antd.Alert
    map: gr.Image
    clicked: gr.HTML
    found: gr.HTML
    table: gr.HTML
    costs: Trial

    def connect(self, services: Services, opened: gr.Tab) -> None:
        """Wire it: drawn when its tab is opened, and with every change."""
        folder = services.studio.settings.models_dir / FOLDER
        raw: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}

        def draw(request: gr.Request, which: object, scale: Any) -> Updates:
            language = language_of(request)
            try:
                lab = opened_lab(folder)
                mapped, found = drawn_map(lab, which), told(lab, which, float(scale), language)
            except StudioError as error:
                return {self.alert: refused(error, language)}
            table = measured(folder, language)
            return {self.alert: accepted(), self.map: mapped, self.found: found, self.table: table}

        def click(request: gr.Request, which: object, event: gr.SelectData) -> Updates:
            language = language_of(request)
            try:
                return {self.alert: accepted(), self.clicked: meant(opened_lab(folder), which, event.index, language)}
            except StudioError as error:
                return {self.alert: refused(error, language)}

        outputs = [self.alert, self.map, self.found, self.table]
        for event in (self.which.change, self.scale.release, opened.select):
            event(draw, [self.which, self.scale], outputs, trigger_mode="always_last", **raw)
        self.costs.connect(services, {}, lambda: costs.work(services), costs.told)
        self.map.select(click, self.which, [self.alert, self.clicked], **raw)


@lru_cache(maxsize=1)
def opened_lab(folder: Path) -> Lab:
    """The autoencoders of models/vae-lab. Raises ModelUnavailable where they are not."""
    from studio.engine.codes import Lab

    return Lab.load(folder)


@lru_cache(maxsize=1)
def held_out() -> tuple[Tensor, tuple[int, ...]]:
    """Pictures that no autoencoder was trained on, and their kinds. (HELD_OUT, 3, 32, 32)"""
    import numpy as np
    import torch

    from studio.diffusion.process import to_signed
    from studio.world.lone import kind_of, pinned_of_seed
    from studio.world.render import render_image
    from studio.world.scene import FIRST_HELD_OUT_SEED

    scenes = [pinned_of_seed(FIRST_HELD_OUT_SEED + i) for i in range(HELD_OUT)]
    pictures = to_signed(torch.from_numpy(np.stack([render_image(scene, 32) for scene in scenes])))
    return pictures.permute(0, 3, 1, 2), tuple(kind_of(scene) for scene in scenes)


def draw_codes() -> Codes:
    """The widgets."""
    with card("maths.card.codes", "maths"):
        page.formula("maths.codes_formula")
        which = gr.Radio(
            [(label(f"maths.lab.{name}"), name) for name in NAMES],
            value="full",
            label=label("maths.lab"),
            elem_id="codes-which",
        )
        alert = antd.Alert(message="", elem_id="codes-refused", **page.ALERT)
        with gr.Row():
            with gr.Column(min_width=280):
                gr.HTML(label("maths.map"))
                mapped = gr.Image(
                    interactive=False,
                    format="png",
                    label=label("maths.map"),
                    show_label=False,
                    buttons=[],
                    height=MAP_SIDE,
                    elem_id="codes-map",
                )
            with gr.Column(min_width=280):
                clicked = gr.HTML(label("maths.click"), elem_id="codes-clicked", elem_classes="maths-clicked")
                scale = gr.Slider(0, 4, SCALE, step=0.25, label=label("maths.scale"), min_width=KNOB_WIDTH)
                found = gr.HTML(elem_id="codes-found")
        table = gr.HTML(elem_id="codes-table")
        measure = draw_trial("costs", "codes", "measure", "costs-found")
    return Codes(which, scale, alert, mapped, clicked, found, table, measure)


def drawn_map(lab: Lab, which: object) -> Image:
    """The map of codes as one picture."""
    from studio.engine.noising import to_picture

    return to_picture(lab.map(which)[None])


def meant(lab: Lab, which: object, place: Any, language: str) -> str:
    """The picture that the clicked code means."""
    from studio.engine.codes import MAP_CELLS, code_at
    from studio.engine.noising import to_picture

    side = MAP_CELLS * lab.side
    code = code_at(place[0] / side, place[1] / side)
    picture = to_picture(lab.decoded(which, code)).resize((128, 128), 0)
    told = text("maths.code", language, one=f"{code[0]:.2f}", other=f"{code[1]:.2f}")
    return f"{shown(picture, told, pixelated=True)}{note(told)}"


def told(lab: Lab, which: object, scale: float, language: str) -> str:
    """Where held-out pictures lie, by kind, and variants of one of them."""
    from studio.engine.noising import to_picture

    pictures, kinds = held_out()
    places = lab.places(which, pictures).clamp(-DOTS_EDGE, DOTS_EDGE).tolist()
    parts = [
        Dots([place for place, own in zip(places, kinds, strict=True) if own % 6 == colour], colour, radius=1.0)
        for colour in range(6)
    ]
    x, y = (Axis(name, -DOTS_EDGE, DOTS_EDGE, even_ticks(-4, 4)) for name in ("z₁", "z₂"))
    plot = figure(x, y, text("maths.placed", language), [part for part in parts if part.points], height=200)
    variants = [to_picture(one[None]) for one in lab.variants(which, pictures[:1], scale, page.USUAL_SEED)]
    row = strip([("", [to_picture(pictures[:1]), *variants])], [text("maths.original", language)], pixelated=True)
    return f"{plot}{note(text('maths.placed', language))}{row}{note(text('maths.variants', language))}"


def measured(folder: Path, language: str) -> str:
    """What the training measured of all of them, on pictures that it kept for that."""
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))["metrics"]
    head = "".join(f"<th>{plain(text(f'maths.measured.{what}', language))}</th>" for what in MEASURED)
    rows = "".join(
        f"<tr><td>{plain(text(f'maths.lab.{name}', language))}</td>"
        + "".join(f"<td>{metrics.get(f'{name}_{what}', '–')}</td>" for what in MEASURED)
        + "</tr>"
        for name in NAMES
    )
    return f'<div class="studio-table"><table><tr><th></th>{head}</tr>{rows}</table></div>'
