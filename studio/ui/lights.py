"""What image to image must do, tried on the picture that is there, and told with a light for each fact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.engine.strengths import Strengths, StrengthSweep
from studio.errors import StudioError
from studio.events import Done, Event, Stopped
from studio.events import Step as StepEvent
from studio.text import t
from studio.types import GenerationRequest
from studio.ui.curve import Axis, Mark, curve_plot
from studio.ui.run import describe_failure, follow, owner_of
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import plain

TICKS = tuple((share, f"{share:g}") for share in (0, 0.2, 0.4, 0.6, 0.8, 1))
LEVELS_STEP = 20


@dataclass(frozen=True)
class Lights:
    """The button, and what it finds."""

    button: gr.Button
    found: gr.HTML

    def connect(self, services: Services, fields: dict[str, Any], wish: Callable[..., GenerationRequest]) -> None:
        """Wire the button. wish(**fields): the request whose strength is tried; raises InvalidInput."""

        def check(request: gr.Request, owner: object, **values: object) -> Iterator[str]:
            language = language_of(request)
            try:
                work = StrengthSweep(wish(**values))
                job = services.studio.jobs.submit(work, owner_of(owner))
            except StudioError as error:
                yield _note(describe(error, language))
                return
            try:
                for event in follow(job):
                    yield _told(event, language)
            finally:
                if not job.finished:
                    job.request_stop()

        self.button.click(
            check,
            services.owner,
            self.found,
            inputs_kwargs=fields,
            preprocess=False,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )


def draw_lights(prefix: str) -> Lights:
    """The button, and the place below it."""
    with gr.Accordion(label("light.title"), open=False, elem_id=f"{prefix}-lights", elem_classes="studio-lights"):
        gr.HTML(label("light.hint"), elem_classes="studio-note")
        button = gr.Button(label("light.run"), size="sm", elem_id=f"{prefix}-check")
        found = gr.HTML(elem_id=f"{prefix}-found")
    return Lights(button, found)


def _told(event: Event, language: str) -> str:
    """What an event of a sweep says."""
    match event:
        case Done(result=Strengths() as result):
            return lights_of(result, language)
        case StepEvent(index=index, total=total):
            return _note(t("light.step", language, index=index, total=total))
        case Stopped():
            return _note(t("phase.stopped", language))
        case _:
            return _note(describe_failure(event, language) or t("light.waiting", language))


def lights_of(found: Strengths, language: str) -> str:
    """A light for each fact, by sign as well as by colour, and the curve of the differences."""
    lines = []
    for light in found.lights:
        kind, sign = ("holds", "✓") if light.holds else ("fails", "✗")
        sentence = t(f"light.{light.id}", language, **{name: _short(value) for name, value in light.values.items()})
        lines.append(f'<li><span class="studio-tag studio-tag-{kind}">{sign}</span> {plain(sentence)}</li>')
    return f'<ul class="studio-light-list">{"".join(lines)}</ul>{_curve(found, language)}'


def _curve(found: Strengths, language: str) -> str:
    """How far the result is from the picture, over the strength."""
    points = [(point.strength, point.to_source) for point in found.points]
    highest = max(value for _, value in points)
    top = LEVELS_STEP * (int(highest / LEVELS_STEP) + 1)
    x = Axis(t("text2img.strength", language), 0, 1, TICKS)
    y = Axis(t("light.y", language), 0, top, [(level, f"{level:g}") for level in (0, top / 2, top)])
    marks = [Mark(point, f"{point[0]:.2f}: {point[1]:.1f}") for point in points]
    return curve_plot(points, x, y, t("light.curve", language), marks)


def _short(value: float) -> str:
    return f"{value:.3g}"


def _note(text: str) -> str:
    return f'<p class="studio-note" role="status">{plain(text)}</p>'
