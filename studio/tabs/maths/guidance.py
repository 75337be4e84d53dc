"""Guidance on real pictures: obedience against diversity over gamma, with a handful of pictures at each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import InvalidInput, ModelUnavailable
from studio.events import Done, Event, Row
from studio.tabs.maths import page
from studio.tabs.maths.page import note, strip
from studio.tabs.maths.work import streamed
from studio.text import t as text
from studio.types import MAX_PROMPT_CHARACTERS, GenerationRequest, Task
from studio.ui import antd
from studio.ui.figure import Axis, Dots, Line, even_ticks, figure
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.widgets import card

if TYPE_CHECKING:
    from studio.engine.guidance_sweep import GuidancePoint, GuidanceSweep

Updates = dict[Any, Any]
PROMPT = "a purple mushroom and a yellow car in the forest, watercolor"
SHOWN = 6


@dataclass(frozen=True)
class Guidance:
    """The prompt, the button, and what they show."""

    prompt: gr.Textbox
    start: gr.Button
    alert: antd.Alert
    found: gr.HTML

    def connect(self, services: Services) -> None:
        """Wire the button; whoever leaves the page ends the work."""

        def sweep(request: gr.Request, owner: object, prompt: Any) -> Iterator[Updates]:
            places = (self.alert, self.found)
            yield from streamed(
                services, owner, language_of(request), lambda: work(services, prompt), shown_event, places
            )

        self.start.click(
            sweep,
            [services.owner, self.prompt],
            [self.alert, self.found],
            preprocess=False,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )


def work(services: Services, prompt: Any) -> GuidanceSweep:
    """The sweep of a prompt by the first model that draws from text. Raises InvalidInput or ModelUnavailable."""
    from studio.engine.guidance_sweep import GuidanceSweep

    specs = services.studio.specs_for(Task.TEXT_TO_IMAGE)
    if not specs:
        raise InvalidInput("not_a_choice", field="base_id", value="", choices="")
    base_id, spec = next(iter(specs.items()))
    if services.studio.eye is None:
        raise ModelUnavailable("no_eye")
    side = spec.native_size
    request = GenerationRequest(base_id, prompt, page.USUAL_SEED, width=side, height=side)
    return GuidanceSweep(request, services.studio.eye)


def draw_guidance(alert: antd.Alert) -> Guidance:
    """The widgets. alert: of the section that it stands in."""
    with card("maths.card.guidance", "maths"):
        gr.HTML(label("maths.guidance_hint"), elem_classes="studio-note")
        prompt = gr.Textbox(
            PROMPT, label=label("text2img.prompt"), max_length=MAX_PROMPT_CHARACTERS, elem_id="guidance-prompt"
        )
        start = gr.Button(label("maths.guidance_go"), variant="primary", elem_id="guidance-start")
        found = gr.HTML(elem_id="guidance-found")
    return Guidance(prompt, start, alert, found)


def shown_event(event: Event, language: str) -> str:
    """The points so far; nothing for events that tell of none."""
    match event:
        case Done(result=points):
            return told(points, language) + note(text("maths.guidance_told", language))
        case Row(values={"points": points, "total": total}):
            return told(points, language) + note(text("light.step", language, index=len(points), total=total))
        case _:
            return ""


def told(points: Sequence[GuidancePoint], language: str) -> str:
    """Both curves over gamma, one against the other, and some of the pictures of each gamma."""
    most = max(point.diversity for point in points) or 1.0
    gammas = [point.gamma for point in points]
    obeyed = [(point.gamma, point.accuracy) for point in points]
    spread = [(point.gamma, point.diversity / most) for point in points]
    share = Axis(text("maths.share_of_most", language), 0, 1, even_ticks(0, 1, 2))
    over = figure(
        Axis("γ", 0, max(1.0, gammas[-1]), [(gamma, f"{gamma:g}") for gamma in gammas]),
        share,
        text("maths.guidance_curves", language),
        [
            Line(obeyed, 0, text("maths.obeyed", language), strong=True),
            Line(spread, 1, text("maths.diversity", language), strong=True),
        ],
    )
    paired = [(b, a) for (_, a), (_, b) in zip(obeyed, spread, strict=True)]
    against = figure(
        Axis(text("maths.diversity", language), 0, 1, even_ticks(0, 1, 2)),
        Axis(text("maths.obeyed", language), 0, 1, even_ticks(0, 1, 2)),
        text("maths.guidance_against", language),
        [Line(paired, 4), Dots(paired, 0, text("maths.each_gamma", language), radius=1.6)],
    )
    rows = [
        (f"γ = {point.gamma:g}: {point.accuracy:.0%}, {point.diversity / most:.0%}", point.pictures[:SHOWN])
        for point in points
    ]
    pictures = strip(rows, [""] * len(points[0].pictures[:SHOWN]))
    return f'<div class="maths-row maths-squares">{over}{against}</div>{pictures}'
