"""A steered picture beside the one of the same noise that nothing steers, and how far it follows its maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from studio.engine.generate import Generation
from studio.errors import StudioError
from studio.events import Done, Event, Failed, GenerationResult
from studio.text import t
from studio.ui.figure import data_uri
from studio.ui.run import describe_failure, follow, owner_of
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.trial import note
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from studio.build import Studio
    from studio.perception.following import Follower, Following

Updates = dict[Any, Any]
# A place of our own: gr.ImageSlider loses a value that comes together with its first appearance.
FOLLOW_THE_HAND = """element.addEventListener("input", ({ target }) =>
  target.parentElement.style.setProperty("--at", target.value + "%"));"""
Tell = Callable[[GenerationResult, Image.Image | None, str], str]
"""What is said of a result, and of its picture without control where there is one, in a language."""


@dataclass(frozen=True)
class Compared:
    """Where both pictures and the numbers of the steered one appear."""

    box: gr.Column
    slider: gr.HTML
    told: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        return [self.box, self.slider, self.told]

    def after(
        self, finished: Any, services: Services, job_id: gr.BrowserState, switch: gr.Checkbox, tell: Tell
    ) -> None:
        """Compare once an event that has tailed a job is over. switch: whether it is drawn without control as well."""

        def compare(request: gr.Request, owner: object, job: object, wanted: bool) -> Iterator[Updates]:
            yield from self.updates(services.studio, owner_of(owner), job, wanted, tell, language_of(request))

        finished.then(
            compare,
            [services.owner, job_id, switch],
            self.outputs,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )

    def updates(
        self, studio: Studio, owner: str, job: object, wanted: bool, tell: Tell, language: str
    ) -> Iterator[Updates]:
        """First what the picture itself tells, then, where it is wanted, beside the one without control."""
        yield {self.box: gr.update(visible=False), self.told: ""}
        result = result_of(studio, job)
        if result is None or not result.request.controls:
            return
        alone = tell(result, None, language)
        yield {self.told: alone + note(t("controlnet.comparing", language)) if wanted else alone}
        if not wanted:
            return
        event = drawn_without(studio, owner, result)
        if not isinstance(event, Done):
            yield {self.told: alone + note(describe_failure(event, language) or t("phase.stopped", language))}
            return
        bare = event.result.images[0]
        yield {
            self.box: gr.update(visible=True),
            self.slider: over_each_other(bare, result.images[0], language),
            self.told: tell(result, bare, language),
        }


def compare_switch(prefix: str) -> gr.Checkbox:
    """Asks for the picture without control as well. prefix: of its texts in assets/i18n, and of its id on the page."""
    texts: dict[str, Any] = {"label": label(f"{prefix}.compare"), "info": label(f"{prefix}.compare_info")}
    return gr.Checkbox(True, **texts, container=False, elem_id=f"{prefix}-compare")


def draw_compared(prefix: str) -> Compared:
    """The places, hidden until there is something to compare. prefix: as of the switch."""
    with gr.Column(visible=False, elem_classes="studio-compared") as box:
        gr.HTML(label(f"{prefix}.slider"), elem_classes="studio-unit-title")
        slider = gr.HTML(js_on_load=FOLLOW_THE_HAND, elem_id=f"{prefix}-slider")
    return Compared(box, slider, gr.HTML(elem_id=f"{prefix}-followed"))


def over_each_other(bare: Image.Image, steered: Image.Image, language: str) -> str:
    """Both pictures in one place, and a slider that says how far the steered one reaches from the right."""
    pictures = "".join(f'<img alt="" src="{data_uri(picture, "WEBP")}">' for picture in (bare, steered))
    name = plain(t("controlnet.reach", language))
    return f'<div class="studio-compare">{pictures}<input type="range" min="0" max="100" aria-label="{name}"></div>'


def result_of(studio: Studio, job_id: object) -> GenerationResult | None:
    """What a job has drawn, if it came to its end."""
    try:
        state = studio.jobs.get(job_id).state if isinstance(job_id, str) else None
    except StudioError:
        return None
    return state.result if isinstance(state, Done) and isinstance(state.result, GenerationResult) else None


def drawn_without(studio: Studio, owner: str, result: GenerationResult) -> Event:
    """The end of the job that draws the first picture of a result without control, from the same noise."""
    try:
        job = studio.jobs.submit(Generation(replace(result.request, controls=(), num_images=1)), owner)
    except StudioError as error:
        return Failed(error)
    *_, last = follow(job)
    return last


def followed(follower: Follower, result: GenerationResult, bare: Image.Image | None, language: str) -> str:
    """For each map how far the picture follows it: a row of numbers, or why there are none."""
    rows, steered, uses = [], result.images[0], result.request.controls
    for number, use in enumerate(uses, start=1):
        try:
            measured = follower.follow(use.control_id, use.images[0], steered, bare)
        except StudioError as error:
            rows.append(note(describe(error, language)))
            continue
        name = t(f"controlnet.measure.{use.control_id}", language)
        title = f"{number}. {name}" if len(uses) > 1 else name
        rows.append(_row(title, measured, language))
    return "".join(rows)


def _row(title: str, measured: Following | None, language: str) -> str:
    """One map's numbers: of the picture, without control, and the most that can be expected."""
    if measured is None:
        return f'<p class="studio-note">{plain(title)}: {plain(t("controlnet.too_little", language))}</p>'
    pairs = {"value": measured.value, "without": measured.baseline, "ceiling": measured.ceiling}
    listed = "".join(
        f"<div><dt>{plain(t(f'controlnet.{name}', language))}</dt><dd>{value:.2f}</dd></div>"
        for name, value in pairs.items()
        if value is not None
    )
    gain = measured.gain
    said = "" if gain is None else note(t("controlnet.gain", language, gain=f"{gain:.0%}"))
    return f'<h4>{plain(title)}</h4>{_bar(measured)}<dl class="studio-numbers">{listed}</dl>{said}'


def _bar(measured: Following) -> str:
    """The value as a length up to the ceiling, with a mark where the picture without control stands."""
    share = {name: max(0.0, min(1.0, value)) for name, value in (("value", measured.value), ("top", measured.ceiling))}
    mark = "" if measured.baseline is None else f'<i style="left:{100 * max(0.0, measured.baseline):.1f}%"></i>'
    return (
        f'<div class="studio-bar" aria-hidden="true"><b style="width:{100 * share["value"]:.1f}%"></b>{mark}'
        f'<u style="left:{100 * share["top"]:.1f}%"></u></div>'
    )
