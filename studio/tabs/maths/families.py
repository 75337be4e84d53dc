"""Four families: GAN, VAE, flow and DDPM learn the same points, and what each misses or makes up is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.events import Done, Event, Row
from studio.tabs.maths import page
from studio.tabs.maths.page import note
from studio.tabs.maths.work import streamed
from studio.text import t as text
from studio.ui import antd
from studio.ui.figure import Axis, Dots, even_ticks, figure
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.widgets import KNOB_WIDTH, card, plain

if TYPE_CHECKING:
    from studio.engine.family_race import Standing

Updates = dict[Any, Any]
EDGE, HEIGHT, SECONDS = 2.2, 250, (5, 120, 20)


@dataclass(frozen=True)
class Families:
    """The knob, the button, and what they show."""

    seconds: gr.Slider
    start: gr.Button
    alert: antd.Alert
    found: gr.HTML

    def connect(self, services: Services) -> None:
        """Wire the button; whoever leaves the page ends the race."""

        def race(request: gr.Request, owner: object, seconds: Any) -> Iterator[Updates]:
            yield from self.raced(services, request, owner, seconds)

        self.start.click(
            race,
            [services.owner, self.seconds],
            [self.alert, self.found],
            preprocess=False,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )

    def raced(self, services: Services, request: gr.Request, owner: object, seconds: Any) -> Iterator[Updates]:
        """Queue the race and tell how far it is."""
        from studio.engine.family_race import FamilyRace

        def work() -> FamilyRace:
            return FamilyRace(seconds, page.USUAL_SEED)

        yield from streamed(services, owner, language_of(request), work, shown_event, (self.alert, self.found))


def draw_families() -> Families:
    """The widgets."""
    least, most, usual = SECONDS
    with card("maths.card.families", "maths"):
        page.formula("maths.families_hint")
        seconds = gr.Slider(least, most, usual, step=5, label=label("maths.seconds"), min_width=KNOB_WIDTH)
        start = gr.Button(label("maths.race"), variant="primary", elem_id="families-start")
        alert = antd.Alert(message="", elem_id="families-refused", **page.ALERT)
        found = gr.HTML(elem_id="families-found")
    return Families(seconds, start, alert, found)


def shown_event(event: Event, language: str) -> str:
    """What an event of the race looks like; nothing for those that tell of no standing."""
    match event:
        case Done(result=standings):
            return told(standings, language) + note(text("maths.race_done", language))
        case Row(values={"standings": standings, "spent_seconds": spent}):
            return told(standings, language) + note(text("maths.training_now", language, seconds=f"{spent:.0f}"))
        case _:
            return ""


def told(standings: dict[str, Standing], language: str) -> str:
    """Each family's points over the true density, and its numbers."""
    from studio.engine.plane import truth
    from studio.tabs.maths.plane import heat

    ground = heat(truth())
    x, y = (Axis(name, -EDGE, EDGE, even_ticks(-2, 2, 2)) for name in ("x₁", "x₂"))
    boxes = []
    for name, one in standings.items():
        title = text(f"maths.family.{name}", language)
        inside = [place for place in one.points if max(map(abs, place)) <= EDGE]
        plot = figure(x, y, title, [Dots(inside, 1)], ground=ground, height=HEIGHT)
        values = {"coverage": f"{one.coverage:.0%}", "precision": f"{one.precision:.0%}", "steps": one.steps}
        boxes.append(f"<div><h4>{plain(title)}</h4>{plot}{note(text('maths.standing', language, **values))}</div>")
    return f'<div class="maths-row maths-fours">{"".join(boxes)}</div>'
