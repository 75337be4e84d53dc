"""How far a job is: a sentence, a bar, and the phases with the present one. One piece of HTML: every widget costs the
browser time with every event."""

from __future__ import annotations

from studio.errors import StudioError
from studio.events import Decoding, Done, Event, Failed, Loading, Queued, Step, Stopped
from studio.text import t
from studio.ui.widgets import plain

PHASES = ("queued", "loading", "denoising", "decoding", "done")
DENOISED_PERCENT = 96


def progress_of(event: Event, language: str, name: str) -> str:
    """What an event says of its job, as HTML. name: the sentence's id on the page."""
    phase, percent, sentence = position(event, language)
    kind = "failed" if isinstance(event, Failed) else "done" if isinstance(event, Done) else "running"
    bar = progress_bar(percent, t("phase.progress", language), kind)
    listed = "".join(_item(index, name, phase, kind, language) for index, name in enumerate(PHASES))
    told = f'<div id="{name}" class="studio-phase" role="status">{plain(sentence)}</div>'
    return f'{told}{bar}<ol class="studio-steps">{listed}</ol>'


def progress_bar(percent: int, name: str, kind: str = "running") -> str:
    """A bar as HTML. name: what it measures, for who cannot see it; kind: "running", "done" or "failed"."""
    return (
        f'<div class="studio-progress-bar studio-progress-bar-{kind}" role="progressbar" aria-label="{plain(name)}"'
        f' aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}"><i style="width: {percent}%"></i></div>'
    )


def _item(index: int, name: str, phase: int, kind: str, language: str) -> str:
    """One phase: behind us, the present one, or to come."""
    state = "past" if index < phase else "to-come" if index > phase else "failed" if kind == "failed" else "now"
    current = ' aria-current="step"' if index == phase else ""
    return f'<li class="studio-step-{state}"{current}>{plain(t(f"phase.{name}", language))}</li>'


def position(event: Event, language: str) -> tuple[int, int, str]:
    """Index into PHASES, percent, and the sentence that says it."""
    match event:
        case Queued(position=place):
            return 0, 0, t("phase.queued_behind" if place else "phase.queued_next", language, count=place)
        case Loading(model_id=model):
            return 1, 0, t("phase.loading_model", language, model=model)
        case Step(index=index, total=total):
            return 2, round(DENOISED_PERCENT * index / total), t("phase.step", language, index=index, total=total)
        case Decoding():
            return 3, DENOISED_PERCENT, t("phase.decoding_now", language)
        case Done():
            return len(PHASES), 100, t("phase.finished", language)
        case Stopped():
            return 0, 0, t("phase.stopped", language)
        case Failed(error=StudioError(key="cut")):
            return 0, 0, t("phase.cut", language)
        case _:
            return 0, 0, t("phase.failed", language)
