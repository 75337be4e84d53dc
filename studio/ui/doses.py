"""One picture without and with what steers it, side by side; and at every scale, with what was measured of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.engine.scales import SCALES, ScalePoint, ScaleSweep
from studio.engine.scales import Measures as Measures
from studio.errors import StudioError
from studio.events import Done, Event
from studio.text import t
from studio.types import GenerationRequest
from studio.ui.run import follow, owner_of
from studio.ui.scales import swept
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.trial import note, told

Updates = dict[Any, Any]
Wish = Callable[..., tuple[GenerationRequest, Measures]]
"""From a page's raw values: the request whose first control is dosed, and what is measured of each picture."""
SLIDER_HEIGHT = 360
"""In pixels."""


@dataclass(frozen=True)
class Doses:
    """The buttons, and what they show."""

    both: gr.Button
    every: gr.Button
    found: gr.HTML
    slider: gr.ImageSlider

    def connect(self, services: Services, fields: Mapping[str, Any], wish: Wish) -> None:
        """Wire the buttons. wish(**fields) raises StudioError."""
        for button, many in ((self.both, False), (self.every, True)):
            button.click(
                self._handler(services, wish, many),
                services.owner,
                [self.found, self.slider],
                inputs_kwargs=dict(fields),
                preprocess=False,
                show_progress="hidden",
                concurrency_limit=None,
                api_visibility="private",
            )

    def _handler(self, services: Services, wish: Wish, many: bool) -> Callable[..., Iterator[Updates]]:
        def handle(request: gr.Request, owner: object, **values: object) -> Iterator[Updates]:
            language = language_of(request)
            try:
                wished, measure = wish(**values)
                scales = SCALES if many else (0.0, wished.controls[0].scale)
                job = services.studio.jobs.submit(ScaleSweep(wished, 0, scales, measure), owner_of(owner))
            except StudioError as error:
                yield {self.found: note(describe(error, language))}
                return
            try:
                for event in follow(job):
                    yield self.updates(event, language)
            finally:
                if not job.finished:
                    job.request_stop()

        return handle

    def updates(self, event: Event, language: str) -> Updates:
        """What an event of a sweep changes: of two doses they lie side by side, of many the full one beside none."""
        if not isinstance(event, Done):
            return {self.found: told(event, swept, language)}
        points: Sequence[ScalePoint] = event.result
        many = len(points) > 2
        last = max((one for one in points if one.scale <= 1), key=lambda one: one.scale) if many else points[-1]
        sides = t("doses.pair", language, low=f"{points[0].scale:g}", high=f"{last.scale:g}")
        return {
            self.found: note(sides) + (swept(points, language) if many else ""),
            self.slider: gr.update(value=(points[0].picture, last.picture), visible=True),
        }


def draw_doses(prefix: str, names: Sequence[str] = ()) -> Doses:
    """The widgets. prefix: of their ids on the page; names: of the measures, each with its name under `sweep.`."""
    for name in names:
        label(f"sweep.{name}")  # said now rather than when the first sweep is over
    with gr.Accordion(label("doses.title"), open=False, elem_id=f"{prefix}-doses", elem_classes="studio-lights"):
        gr.HTML(label("doses.hint"), elem_classes="studio-note")
        with gr.Row(elem_classes="studio-examples"):
            both = gr.Button(label("doses.both"), size="sm", min_width=0, scale=0, elem_id=f"{prefix}-both")
            every = gr.Button(label("doses.every"), size="sm", min_width=0, scale=0, elem_id=f"{prefix}-every")
        slider = gr.ImageSlider(
            visible=False,
            interactive=False,
            show_label=False,
            max_height=SLIDER_HEIGHT,
            format="png",
            elem_id=f"{prefix}-dose-slider",
            elem_classes="studio-slider",
        )
        found = gr.HTML(elem_id=f"{prefix}-dose-found")
    return Doses(both, every, found, slider)
