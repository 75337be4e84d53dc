"""Train one now: a small DDPM learns for a minute, in the queue like any other work, and lets pictures through."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.events import Done, Event, Row
from studio.tabs.maths import page
from studio.tabs.maths.page import note, strip
from studio.tabs.maths.work import streamed
from studio.text import t as text
from studio.ui import antd
from studio.ui.figure import Axis, Line, even_ticks, figure
from studio.ui.run import owner_of
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.widgets import INSTANT, KNOB_WIDTH, card

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from studio.engine.short_training import Trained

Updates = dict[Any, Any]
PICTURES, SIDE = 256, 32
LEAST_SECONDS, MOST_SECONDS, USUAL_SECONDS = 5, 120, 60


@dataclass(frozen=True)
class Training:
    """The knobs and what they show. job: the id of what this page started."""

    seconds: gr.Slider
    loss: gr.Radio
    uses_time: gr.Checkbox
    start: gr.Button
    stop: gr.Button
    job: gr.State
    alert: antd.Alert
    found: gr.HTML

    def connect(self, services: Services) -> None:
        """Wire the buttons."""

        def train(request: gr.Request, owner: object, *values: Any) -> Iterator[Updates]:
            yield from self.trained(services, request, owner, *values)

        def cancel(owner: object, job_id: str | None) -> None:
            if job_id:
                services.studio.jobs.cancel(job_id, owner_of(owner))

        self.start.click(
            train,
            [services.owner, self.seconds, self.loss, self.uses_time],
            [self.alert, self.job, self.found],
            preprocess=False,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )
        self.stop.click(cancel, [services.owner, self.job], None, **INSTANT)

    def trained(
        self, services: Services, request: gr.Request, owner: object, seconds: Any, loss: Any, uses_time: Any
    ) -> Iterator[Updates]:
        """Queue the training and tell how far it is; whoever leaves the page ends it."""
        from studio.engine.short_training import ShortTraining

        def work() -> ShortTraining:
            return ShortTraining(lesson_pictures(), seconds, loss, uses_time is not False, page.USUAL_SEED)

        places = (self.alert, self.found)
        yield from streamed(
            services, owner, language_of(request), work, shown_event, places, lambda job: {self.job: job.id}
        )


def draw_training() -> Training:
    """The widgets."""
    with card("maths.card.training", "maths"):
        page.formula("maths.training_formula")
        with gr.Row():
            seconds = gr.Slider(
                LEAST_SECONDS, MOST_SECONDS, USUAL_SECONDS, step=5, label=label("maths.seconds"), min_width=KNOB_WIDTH,
                elem_id="training-seconds",
            )  # fmt: skip
            loss = gr.Radio([("L2", "l2"), ("L1", "l1")], value="l2", label=label("maths.loss"), min_width=120)
            uses_time = gr.Checkbox(True, label=label("maths.uses_time"), min_width=KNOB_WIDTH)
        with gr.Row(elem_classes="studio-actions"):
            start = gr.Button(label("maths.train"), variant="primary", elem_id="training-start")
            stop = gr.Button(label("text2img.stop"), elem_id="training-stop")
        alert = antd.Alert(message="", elem_id="training-refused", **page.ALERT)
        found = gr.HTML(elem_id="training-found")
    return Training(seconds, loss, uses_time, start, stop, gr.State(None), alert, found)


@lru_cache(maxsize=1)
def lesson_pictures() -> NDArray[np.uint8]:
    """What is learnt from: one thing in the middle of each. (PICTURES, SIDE, SIDE, 3)"""
    import numpy as np

    from studio.world.lone import lone_of_seed
    from studio.world.render import render_image

    return np.stack([render_image(lone_of_seed(seed), SIDE) for seed in range(PICTURES)])


def shown_event(event: Event, language: str) -> str:
    """What an event of the training looks like; nothing for those that tell of no training."""
    match event:
        case Done(result=found):
            return told(found, language) + note(text("maths.training_done", language))
        case Row(values={"trained": found, "spent_seconds": spent}):
            return told(found, language) + note(text("maths.training_now", language, seconds=f"{spent:.0f}"))
        case _:
            return ""


def told(found: Trained, language: str) -> str:
    """The loss so far, and what both weights draw from the same noise."""
    last, highest = found.losses[-1][0], max(1.0, max(loss for _, loss in found.losses))
    top = math.ceil(5 * highest) / 5
    nothing = Line([(0, 1), (last, 1)], 5, text("maths.guess_zero", language), dashed=True)
    x = Axis(text("maths.step", language), 0, last, even_ticks(0, last))
    y = Axis(text("maths.loss", language), 0, top, even_ticks(0, top, 2))
    plot = figure(
        x,
        y,
        text("maths.loss_curve", language),
        [Line(found.losses, 0, text("maths.loss", language), strong=True), nothing],
    )
    rows = [(text("maths.average", language), found.average), (text("maths.raw", language), found.raw)]
    rate = text("maths.rate", language, steps=last, rate=f"{found.samples_per_second:.0f}")
    return f"{plot}{strip(rows, [''] * len(found.average), pixelated=True)}{note(rate)}"
