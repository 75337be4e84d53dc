"""What a classifier still sees: which kind it takes for which, the noisier the picture the less, down to chance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from studio.tabs.maths import page
from studio.tabs.maths.page import note
from studio.text import t as text
from studio.ui.figure import Axis, Line, even_ticks, figure
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.widgets import INSTANT, card, plain

FOLDER, CONFUSION = "noisy-classifier", "confusion.json"
LAST_TIME = 999


@dataclass(frozen=True)
class Confusion:
    """A slider over the levels of noise that were measured, and the matrix there."""

    told: dict[str, Any]
    level: gr.Slider
    found: gr.HTML

    def connect(self, opened: gr.Tab) -> None:
        """Wire it: drawn when its tab is opened, and with every move."""

        def show(request: gr.Request, level: Any) -> str:
            return shown(self.told, int(level or 0), language_of(request))

        for event in (self.level.input, opened.select):
            event(show, self.level, self.found, preprocess=False, trigger_mode="always_last", **INSTANT)


def draw_confusion(services: Services) -> Confusion:
    """The widgets, which are there where the classifier is."""
    told = matrices_in(services.studio.settings.models_dir / FOLDER)
    last = max(1, len(told.get("levels", ())) - 1)
    with gr.Column(visible=bool(told)), card("maths.card.confusion", "maths"):
        page.formula("maths.confusion_hint")
        level = gr.Slider(0, last, 0, step=1, label=label("maths.confusion_level"), elem_id="confusion-level")
        found = gr.HTML(elem_id="confusion-found")
    return Confusion(told, level, found)


def matrices_in(folder: Path) -> dict[str, Any]:
    """classes, schedule, and for each level t and its matrix; nothing where there is no classifier."""
    path = folder / CONFUSION
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def accuracy(matrix: list[list[int]]) -> float:
    """The share on the diagonal."""
    return sum(row[place] for place, row in enumerate(matrix)) / max(1, sum(map(sum, matrix)))


def shown(told: dict[str, Any], level: int, language: str) -> str:
    """The matrix at one level of noise, and how the accuracy falls over all of them."""
    if not told:
        return ""
    levels = told["levels"]
    chosen = levels[max(0, min(level, len(levels) - 1))]
    chance, points = 1 / len(told["classes"]), [(one["t"], accuracy(one["matrix"])) for one in levels]
    curve = figure(
        Axis("t", 0, LAST_TIME, even_ticks(0, LAST_TIME)),
        Axis(text("maths.accuracy", language), 0, 1, even_ticks(0, 1, 2)),
        text("maths.accuracy_curve", language),
        [
            Line(points, 0, text("maths.accuracy", language), strong=True),
            Line([(0, chance), (LAST_TIME, chance)], 5, text("maths.chance", language), dashed=True),
        ],
        now=chosen["t"],
    )
    share = text("maths.confusion_told", language, t=chosen["t"], share=f"{accuracy(chosen['matrix']):.1%}")
    table = _table(told["classes"], chosen["matrix"], language)
    return f'<div class="maths-row maths-squares">{table}{curve}</div>{note(share)}'


def _table(classes: list[str], matrix: list[list[int]], language: str) -> str:
    """Rows are what is there, columns what is seen; the more often, the more ink."""
    names = [plain(text(f"maths.kind.{name}", language)) for name in classes]
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(
        f"<tr><th>{name}</th>{''.join(_cell(count, max(1, sum(row))) for count in row)}</tr>"
        for name, row in zip(names, matrix, strict=True)
    )
    return f'<div class="studio-table maths-matrix"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _cell(count: int, total: int) -> str:
    return f'<td style="--ink: {100 * count / total:.0f}%">{count or ""}</td>'
