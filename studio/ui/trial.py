"""A button that tries something on what the page asks for, and the place below it that tells what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.events import Done, Event, Step, Stopped, Work
from studio.text import t
from studio.ui.run import describe_failure, follow, owner_of
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import plain

Tell = Callable[[Any, str], str]
"""The HTML of a work's result, in a language."""


@dataclass(frozen=True)
class Trial:
    """The button, and what it finds."""

    button: gr.Button
    found: gr.HTML

    def connect(self, services: Services, fields: dict[str, Any], work: Callable[..., Work], tell: Tell) -> None:
        """Wire the button. work(**fields): what is tried; raises InvalidInput. A person who leaves stops it."""

        def run(request: gr.Request, owner: object, **values: object) -> Iterator[str]:
            language = language_of(request)
            try:
                job = services.studio.jobs.submit(work(**values), owner_of(owner))
            except StudioError as error:
                yield note(describe(error, language))
                return
            try:
                for event in follow(job):
                    yield told(event, tell, language)
            finally:
                if not job.finished:
                    job.request_stop()

        self.button.click(
            run,
            services.owner,
            self.found,
            inputs_kwargs=fields,
            preprocess=False,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )


def draw_trial(texts: str, prefix: str, button: str, found: str) -> Trial:
    """The button, and the place below it. texts: <texts>.title, .hint and .run in assets/i18n; button, found: the ends
    of their ids on the page."""
    with gr.Accordion(label(f"{texts}.title"), open=False, elem_id=f"{prefix}-{texts}s", elem_classes="studio-lights"):
        gr.HTML(label(f"{texts}.hint"), elem_classes="studio-note")
        run = gr.Button(label(f"{texts}.run"), size="sm", elem_id=f"{prefix}-{button}")
        html = gr.HTML(elem_id=f"{prefix}-{found}")
    return Trial(run, html)


def told(event: Event, tell: Tell, language: str) -> str:
    """What an event of such a work says."""
    match event:
        case Done(result=result):
            return tell(result, language)
        case Step(index=index, total=total):
            return note(t("light.step", language, index=index, total=total))
        case Stopped():
            return note(t("phase.stopped", language))
        case _:
            return note(describe_failure(event, language) or t("light.waiting", language))


def note(text: str) -> str:
    return f'<p class="studio-note" role="status">{plain(text)}</p>'
