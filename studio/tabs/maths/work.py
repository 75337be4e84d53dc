"""A work of the maths tab, from the button to what it leaves on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import StudioError
from studio.events import Event, Work
from studio.tabs.maths.page import accepted, note, refused
from studio.text import t as text
from studio.ui import antd
from studio.ui.run import describe_failure, follow, owner_of
from studio.ui.services import Services

if TYPE_CHECKING:
    from studio.engine.jobs import Job

Updates = dict[Any, Any]


def streamed(
    services: Services,
    owner: object,
    language: str,
    make: Callable[[], Work],
    shown: Callable[[Event, str], str],
    places: tuple[antd.Alert, gr.HTML],
    submitted: Callable[[Job], Updates] = lambda job: {},
) -> Iterator[Updates]:
    """Queue what `make` gives, and show its events; whoever leaves the page ends it.

    shown: an event as HTML, or nothing; places: where a refusal is told, and where the events are shown; submitted:
    further updates once there is a job.
    """
    alert, found = places
    try:
        job = services.studio.jobs.submit(make(), owner_of(owner))
    except StudioError as error:
        yield {alert: refused(error, language)}
        return
    yield {alert: accepted(), found: note(text("light.waiting", language)), **submitted(job)}
    try:
        for event in follow(job):
            if html := shown(event, language):
                yield {found: html}
            elif failure := describe_failure(event, language):
                yield {found: note(failure)}
    finally:
        if not job.finished:
            job.request_stop()
