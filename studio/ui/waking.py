"""How a ControlNet's zero convolutions woke up, as its training wrote it down beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import InvalidInput
from studio.settings import ROOT
from studio.text import t
from studio.types import ModelSpec
from studio.ui.curve import Axis
from studio.ui.figure import Line, even_ticks, figure
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.unit import Unit
from studio.ui.uses import model_of
from studio.ui.widgets import INSTANT, plain
from studio.world.maps import MapKind

FILE = "waking.json"


@dataclass(frozen=True)
class Waking:
    """Where it is shown."""

    html: gr.HTML

    def connect(self, services: Services, unit: Unit, base: gr.Dropdown) -> None:
        """Show that of the ControlNet which a unit chooses."""

        def show(request: gr.Request, kind: MapKind, base_id: str) -> str:
            language = language_of(request)
            try:
                model_id = model_of(services.studio, kind, base_id)
            except InvalidInput:
                return _nothing(language)
            return waking(services.studio.places.look()[model_id].spec, language)

        for event in (unit.kind.change, base.change, services.tab.select):
            event(show, [unit.kind, base], self.html, **INSTANT)


def draw_waking(prefix: str) -> Waking:
    """The place. prefix: of its id on the page."""
    with gr.Accordion(label("waking.title"), open=False, elem_id=f"{prefix}-waking", elem_classes="studio-lights"):
        gr.HTML(label("waking.hint"), elem_classes="studio-note")
        html = gr.HTML()
    return Waking(html)


def waking(spec: ModelSpec, language: str) -> str:
    """Norms and obedience over the first steps; a sentence where nothing was written down."""
    told = _read(spec)
    if told is None:
        return _nothing(language)
    steps = told["steps"]
    parts = [_norms(steps, language)]
    obedience = [(note["step"], note["obedience"]) for note in steps if note.get("obedience") is not None]
    if obedience:
        parts.append(_obedience(obedience, language))
    first = steps[0]
    asleep = all(norm == 0 for norm in first["norms"].values())
    said = t("waking.first" if asleep else "waking.info", language)
    return f'{"".join(parts)}<p class="studio-note">{plain(said)}</p>'


def _nothing(language: str) -> str:
    return f'<p class="studio-note">{plain(t("waking.none", language))}</p>'


def _read(spec: ModelSpec) -> dict[str, Any] | None:
    """The file of a model that lies in a folder of its own."""
    for source in spec.sources:
        file = ROOT / source.repo / FILE if source.hub == "local" else Path()
        if file.is_file():
            read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return read
    return None


def _norms(steps: Sequence[dict[str, Any]], language: str) -> str:
    """A line for each zero convolution."""
    names = list(steps[0]["norms"])
    lines = [
        Line([(note["step"], note["norms"][name]) for note in steps], number % 6, name)
        for number, name in enumerate(names)
    ]
    top = max(value for line in lines for _, value in line.points) or 1.0
    x, y = _steps(steps[-1]["step"], language), Axis(t("waking.norm", language), 0, top, even_ticks(0, top, 2))
    return figure(x, y, t("waking.norms", language), lines)


def _obedience(points: Sequence[tuple[float, float]], language: str) -> str:
    """One line: what the pictures of the training's probe kept of their maps."""
    low, high = min(0.0, *(value for _, value in points)), 1.0
    y = Axis(t("waking.obedience", language), low, high, even_ticks(low, high, 2))
    return figure(_steps(points[-1][0], language), y, t("waking.obedience", language), [Line(points, strong=True)])


def _steps(last: float, language: str) -> Axis:
    return Axis(t("waking.x", language), 0, last, even_ticks(0, last))
