"""A job on the page: its events become what the person sees, also after the page was loaded anew.

A handler submits and returns; another only tails the job, whose id the browser keeps. Closing the page ends the
tail and not the job.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import StudioError
from studio.events import FINAL_EVENTS, Event, Failed, Row, Work
from studio.text import t
from studio.ui import antd
from studio.ui.attendance import Attendance
from studio.ui.cut import cut_event, cut_record, refilled
from studio.ui.progress import progress_of
from studio.ui.text import describe, language_of
from studio.ui.widgets import INSTANT

if TYPE_CHECKING:
    from studio.build import Studio
    from studio.engine.jobs import Job
    from studio.ui.opening import Opening

Updates = dict[Any, Any]
TAIL_SECONDS = 2.0
"""How long a tail is silent at most: it notices that the browser has gone when it writes."""
OWNER_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")
# Gradio hides what it stores behind this word so that it reads it again after a restart; it protects nothing.
STORAGE_WORD = "diffusion-studio"


def browser_state(name: str) -> gr.BrowserState:
    """A value that the browser keeps under this name."""
    return gr.BrowserState(None, storage_key=f"studio.{name}", secret=STORAGE_WORD)


def owner_of(stored: object) -> str:
    """Whose jobs these are: what the browser kept, or a new name that nobody can guess."""
    if isinstance(stored, str) and OWNER_PATTERN.fullmatch(stored):
        return stored
    return secrets.token_urlsafe(32)


def follow(job: Job) -> Iterator[Event]:
    """A job's events to its end. In silence the newest is told again, so that a caller can be noticed to be gone; a
    row is told once."""
    ended, told = False, 0
    while not ended:
        rows = 0
        for event in job.tail(TAIL_SECONDS):
            ended = isinstance(event, FINAL_EVENTS)
            rows += isinstance(event, Row)
            if isinstance(event, Row) and rows <= told:
                continue
            told = max(told, rows)
            yield event


@dataclass(frozen=True)
class JobPanel:
    """The buttons that start and stop a job, and what tells how far it is."""

    start: gr.Button
    stop: gr.Button
    alert: antd.Alert
    phase: gr.HTML
    prefix: str = ""

    @property
    def outputs(self) -> list[Any]:
        return [self.start, self.stop, self.alert, self.phase]

    def updates(self, event: Event, language: str) -> Updates:
        """What an event changes on the panel."""
        running = not isinstance(event, FINAL_EVENTS)
        failure = describe_failure(event, language)
        return {
            self.start: gr.update(interactive=not running),
            self.stop: gr.update(interactive=running),
            self.alert: gr.update(visible=failure is not None, message=failure or ""),
            # Nothing but the value: with `visible` beside it, gradio may put back the value before.
            self.phase: progress_of(event, language, f"{self.prefix}phase"),
        }

    def refused(self, error: StudioError, language: str) -> Updates:
        """What a wish changes that could not become a job."""
        return {self.alert: gr.update(visible=True, message=describe(error, language))}


def describe_failure(event: Event, language: str) -> str | None:
    """Why a job failed, or None if it did not."""
    if not isinstance(event, Failed):
        return None
    if isinstance(event.error, StudioError):
        return describe(event.error, language)
    return t("text2img.unexpected", language)


def draw_panel(start: gr.Button, stop: gr.Button, prefix: str = "") -> JobPanel:
    """The alert, and how far the job is, which show themselves with the first job. prefix: of the sentence's id."""
    alert = antd.Alert(message="", type="error", show_icon=True, visible=False, elem_classes="studio-alert")
    phase = gr.HTML(elem_classes="studio-progress")
    return JobPanel(start, stop, alert, phase, prefix)


@dataclass(frozen=True)
class JobFlow:
    """Connects a panel with the queue. show: the updates beside the panel's own, at least one for each event."""

    studio: Studio
    panel: JobPanel
    owner: gr.BrowserState
    job_id: gr.BrowserState
    outputs: list[Any]
    show: Callable[[Event, str], Iterator[Updates]]
    attendance: Attendance = field(default_factory=Attendance)

    def connect(
        self,
        opening: Opening,
        fields: Mapping[str, Any],
        prepare: Callable[..., tuple[Work, Updates]],
        prepared: Sequence[Any],
    ) -> Any:
        """Wire the buttons and the page's opening. Returns the event that tails the job: what follows it comes at its
        end.

        prepare(**fields) makes the work, and updates of the widgets `prepared`; it raises InvalidInput.
        """

        def submit(request: gr.Request, owner: object, **values: object) -> Updates:
            language = language_of(request)
            name = owner_of(owner)
            try:
                work, updates = prepare(**values)
                job = self.studio.jobs.submit(work, name, keep=True)
            except StudioError as error:
                return {self.owner: name, self.job_id: None, **self.panel.refused(error, language)}
            self.attendance.left(self.studio.jobs, job)  # until its page tails it
            return {self.owner: name, self.job_id: job.id, **updates}

        outputs = [self.owner, self.job_id, self.panel.alert, *prepared]
        # Raw values: what a widget would refuse without a word, the request refuses with one.
        started = self.panel.start.click(
            submit,
            self.owner,
            outputs,
            inputs_kwargs=dict(fields),
            preprocess=False,
            show_progress="hidden",
            api_visibility="private",
        )
        tail = {
            "fn": self.tail,
            "inputs": [self.owner, self.job_id],
            "outputs": [*self.panel.outputs, *self.outputs],
            "show_progress": "hidden",
            "concurrency_limit": None,
            "api_visibility": "private",
        }
        finished = started.then(**tail)

        def refill(owner: object, job_id: object) -> Updates:
            """What a page that is opened again is filled with: the wish of a job that was cut."""
            record = cut_record(self.studio, owner_of(owner), job_id)
            updates = {} if record is None else refilled(record, fields, self.studio.specs)
            return updates or {next(iter(fields.values())): gr.skip()}

        # After the tail, and so after what else the page fills itself with when it is opened.
        found = opening.job(self.job_id)
        found.change(**tail).then(refill, [self.owner, self.job_id], list(fields.values()), **INSTANT)
        self.panel.stop.click(
            self.stop, [self.owner, self.job_id], queue=False, show_progress="hidden", api_visibility="private"
        )
        return finished

    def tail(self, request: gr.Request, owner: object, job_id: object) -> Iterator[Updates]:
        """Tell what the job tells, until it ends. One that is not known (any more) changes nothing, or was cut."""
        language = language_of(request)
        try:
            job = self.studio.jobs.get(job_id) if isinstance(job_id, str) else None
        except StudioError:
            job = None
        if job is None:
            record = cut_record(self.studio, owner_of(owner), job_id)
            yield {self.panel.start: gr.skip()} if record is None else self.panel.updates(cut_event(record), language)
            return
        with self.attendance.looking(self.studio.jobs, job):
            rows: Updates = {}  # what the last row changed, told with the end again
            for event in follow(job):
                told = {**(rows if isinstance(event, FINAL_EVENTS) else {}), **self.panel.updates(event, language)}
                for updates in self.show(event, language):
                    told = {**told, **updates}
                    rows = updates if isinstance(event, Row) else rows
                    yield told  # all of the event again: a browser may lose an update that another follows at once

    def stop(self, request: gr.Request, owner: object, job_id: object) -> None:
        """Ask the job to stop at its next step."""
        try:
            self.studio.jobs.cancel(str(job_id), owner_of(owner))
        except StudioError as error:
            gr.Warning(describe(error, language_of(request)))
