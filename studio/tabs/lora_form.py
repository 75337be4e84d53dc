"""Train one now: a form in the LoRA tab. The training is work of the queue, and lets pictures through."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import InvalidInput, StudioError
from studio.events import Done, Event, Row, Stopped
from studio.tabs.lora_subject import PICTURES, SOURCES, subject_of
from studio.tabs.lora_training import (
    LEAST_MINUTES,
    LEAST_RANK,
    MOST_MINUTES,
    MOST_RANK,
    LoraTraining,
    Taught,
    file_stem,
)
from studio.tabs.maths import page
from studio.tabs.maths.page import note
from studio.text import t as text
from studio.types import Param
from studio.ui.button_bar import draw_button_bar
from studio.ui.figure import Axis, Line, figure
from studio.ui.knobs import draw_knobs, read_knobs
from studio.ui.run import describe_failure, follow, owner_of
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from studio.build import Studio

Updates = dict[Any, Any]
MOST_BASE_BYTES = 512 * 2**20
"""A larger base is not trained on the page: its gradients would not fit beside the pictures of others."""
KNOBS = (
    Param("minutes", "int", 3, LEAST_MINUTES, MOST_MINUTES, 1),
    Param("rank", "int", 8, LEAST_RANK, MOST_RANK, 1),
)
DROP_HEIGHT = 90
"""In pixels."""


@dataclass(frozen=True)
class Form:
    """knobs: minutes and rank; buttons: start and stop; job: the id of what this page started."""

    source: gr.Dropdown
    files: gr.File
    trigger: gr.Textbox
    knobs: gr.HTML
    buttons: gr.HTML
    found: gr.HTML
    job: gr.State

    def connect(
        self, services: Services, base_id: gr.Dropdown, arrived: Callable[..., Updates], inputs: list[Any],
        outputs: list[Any],
    ) -> None:  # fmt: skip
        """Wire it. arrived(request, name, *inputs): the updates of `outputs` once a LoRA lies on the shelf."""

        def pressed(request: gr.Request, owner: object, *values: Any) -> Iterator[Updates]:
            yield from self.pressed(services, request, owner, *values)

        def ended(request: gr.Request, job_id: Any, *values: Any) -> Updates:
            name = name_of(services.studio, job_id)
            return {outputs[0]: gr.skip()} if name is None else arrived(request, name, *values)

        given = [self.buttons, self.job, self.source, self.files, self.trigger, self.knobs, base_id]
        quiet: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
        self.buttons.input(
            pressed, [services.owner, *given], [self.job, self.found],
            trigger_mode="multiple", concurrency_limit=None, **quiet,
        ).then(ended, [self.job, *inputs], outputs, queue=False, **quiet)  # fmt: skip
        self.source.input(
            lambda source: gr.update(visible=source == PICTURES), self.source, self.files, queue=False, **quiet
        )

    def pressed(
        self, services: Services, request: gr.Request, owner: object, button: Any, job_id: Any, *values: Any
    ) -> Iterator[Updates]:
        """Stop what runs; or queue a training and tell how far it is. Whoever leaves the page stops it, too."""
        jobs, language = services.studio.jobs, language_of(request)
        if button == "stop" or is_running(services.studio, job_id):
            if button == "stop" and is_running(services.studio, job_id):
                # The state is the page's own; a browser that keeps no name yet is called otherwise at each press.
                jobs.cancel(job_id, jobs.get(job_id).owner)
            yield {self.job: gr.skip()}
            return
        try:
            job = jobs.submit(training_of(services.studio, *values), owner_of(owner))
        except StudioError as error:
            yield {self.job: None, self.found: note(describe(error, language))}
            return
        yield {self.job: job.id, self.found: note(text("light.waiting", language))}
        try:
            for event in follow(job):
                if html := shown(event, language):
                    yield {self.found: html}
        finally:
            if not job.finished:
                job.request_stop()


def draw_form(prefix: str, visible: bool) -> Form:
    """The widgets. prefix: of their ids on the page; visible: whether a person may bring anything."""
    with gr.Accordion(
        label("teach.title"), open=False, visible=visible, elem_id=f"{prefix}-teach", elem_classes="studio-lights"
    ):
        source = gr.Dropdown(
            [(label(f"teach.source.{name}"), name) for name in SOURCES],
            value=PICTURES, label=label("teach.source"), info=label("teach.hint"), elem_id=f"{prefix}-teach-source",
        )  # fmt: skip
        files = gr.File(
            label=label("teach.files"), file_count="multiple", file_types=["image"], height=DROP_HEIGHT,
            elem_id=f"{prefix}-teach-files", elem_classes="studio-restore",
        )  # fmt: skip
        trigger = gr.Textbox(
            label=label("teach.trigger"), placeholder=label("teach.trigger_hint"), max_lines=1,
            elem_id=f"{prefix}-teach-trigger",
        )  # fmt: skip
        knobs = draw_knobs(
            f"{prefix}-teach-knobs", "teach.knobs", KNOBS, {one.name: f"teach.{one.name}" for one in KNOBS}
        )
        buttons = draw_button_bar(f"{prefix}-teach", {"start": "teach.start", "stop": "teach.stop"})
        found = gr.HTML(elem_id=f"{prefix}-teach-found")
    return Form(source, files, trigger, knobs, buttons, found, gr.State(None))


def training_of(studio: Studio, source: Any, files: Any, trigger: Any, knobs: Any, base_id: Any) -> LoraTraining:
    """The work of raw values from the page. Raises StudioError that names what is wrong, before anything is loaded."""
    if studio.settings.public:
        raise StudioError("lora_no_uploads")
    if base_id not in studio.specs:
        raise InvalidInput("not_a_choice", field="base_id", value=str(base_id)[:40], choices=", ".join(studio.specs))
    spec = studio.specs[base_id]
    if spec.bytes_estimate > MOST_BASE_BYTES:
        sizes = {"maximum_mb": MOST_BASE_BYTES // 2**20, "value_mb": spec.bytes_estimate // 2**20}
        raise InvalidInput("lora_base_too_large", field="base_id", model=spec.name, **sizes)
    turned = {one.name: one.default for one in KNOBS} | read_knobs(knobs, KNOBS, "knobs")
    subject = subject_of(source, trigger, files, spec.native_size)

    def put(file: Path) -> str:
        name = studio.loras.add(file, free_name(studio, file_stem(subject.trigger)), base_id).name
        return str(name)

    studio.loras.require_room()
    return LoraTraining(subject, base_id, spec.native_size, put, **turned)


def free_name(studio: Studio, stem: str) -> str:
    """The first of stem, stem-2, stem-3 ... that nothing on the shelf is called."""
    taken = {one.name for one in studio.loras.items()}
    return next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def is_running(studio: Studio, job_id: Any) -> bool:
    try:
        return isinstance(job_id, str) and not studio.jobs.get(job_id).finished
    except StudioError:
        return False


def name_of(studio: Studio, job_id: Any) -> str | None:
    """The name on the shelf of what a job has trained; None while it runs, and where it came to nothing."""
    try:
        state = studio.jobs.get(job_id).state if isinstance(job_id, str) else None
    except StudioError:
        return None
    return state.result.name if isinstance(state, Done) and isinstance(state.result, Taught) else None


def shown(event: Event, language: str) -> str:
    """What an event of the training looks like; nothing for those that tell of none."""
    match event:
        case Done(result=Taught() as taught):
            losses = {"before": f"{taught.before or 0:.3f}", "after": f"{taught.after or 0:.3f}"}
            return told(taught, language) + note(text("teach.done", language, name=taught.name, **losses))
        case Row(values={"taught": taught}):
            return told(taught, language)
        case Row(values={"pictures_read": count, "pictures": number}):
            return note(text("teach.read", language, count=count, number=number))
        case Stopped():
            return note(text("phase.stopped", language))
        case _:
            failure = describe_failure(event, language)
            return note(failure) if failure else ""


def told(taught: Taught, language: str) -> str:
    """The loss so far, and the picture that grows."""
    plot = curve(taught, language) if len(taught.losses) > 1 else ""
    grows = [(text("teach.at_step", language, step=step), picture) for step, picture in taught.pictures]
    pictures = "".join(
        f"<figure>{page.shown(one, at)}<figcaption>{plain(at)}</figcaption></figure>" for at, one in grows
    )
    said = text("teach.now", language, steps=taught.steps, seconds=f"{taught.spent_seconds:.0f}")
    return f'{plot}{note(text("teach.grows", language))}<div class="teach-grows">{pictures}</div>{note(said)}'


def curve(taught: Taught, language: str) -> str:
    """The loss over the steps."""
    first, top = taught.losses[0][0], math.ceil(10 * max(loss for _, loss in taught.losses)) / 10
    x = Axis(text("maths.step", language), first, taught.steps, [(one, str(one)) for one in (first, taught.steps)])
    y = Axis(text("maths.loss", language), 0, top, [(0, "0"), (top, f"{top:g}")])
    return figure(x, y, text("teach.curve", language), [Line(taught.losses, 0, strong=True)])
