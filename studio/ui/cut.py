"""A job that the studio's end cut short: told when its page is opened again, with its settings filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.engine.record import Record, State
from studio.errors import StudioError
from studio.events import Failed
from studio.types import ModelSpec
from studio.ui.widgets import largest_side

if TYPE_CHECKING:
    from studio.build import Studio

MODELS_OWN = ("base_id", "width", "height")
TOLD_CHARACTERS = 80
"""Of a prompt, in the sentence that says that it was cut."""


def cut_record(studio: Studio, owner: str, job_id: object) -> Record | None:
    """What is remembered of the owner's job, if it was cut. A history that cannot be read knows of none."""
    try:
        record = studio.store.get(job_id, owner) if isinstance(job_id, str) else None
    except StudioError:
        return None
    return record if record is not None and record.state is State.CUT else None


def cut_event(record: Record) -> Failed:
    """The end of a job that never came to one."""
    prompt = record.request["prompt"]
    return Failed(StudioError("cut", prompt=prompt[:TOLD_CHARACTERS] + "…" * (len(prompt) > TOLD_CHARACTERS)))


def refilled(record: Record, fields: Mapping[str, Any], specs: Mapping[str, ModelSpec]) -> dict[Any, Any]:
    """Updates that fill a page's fields with what a job was asked for; of pictures nothing is kept.

    A model that is no longer offered leaves the page's own, and with it the sizes.
    """
    spec = specs.get(record.request["base_id"])
    values = {**record.request, "keep_seed": True}
    bounds = {"width": {"maximum": largest_side(spec)}, "height": {"maximum": largest_side(spec)}} if spec else {}
    left_out = () if spec else MODELS_OWN
    return {
        widget: gr.update(value=values[name], **bounds.get(name, {}))
        for name, widget in fields.items()
        if name in values and name not in left_out
    }
