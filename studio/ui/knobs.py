"""Sliders that are one widget, for knobs that few people turn: every widget costs the browser time with every event.

`assets/knobs.js` draws them in a drawer of their own; the value is JSON of those that are not as usual.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from studio.errors import InvalidInput
from studio.settings import ROOT
from studio.text import LANGUAGES, t
from studio.types import Param
from studio.ui.widgets import script

SCRIPT = (ROOT / "assets" / "knobs.js").read_text(encoding="utf-8")
PLACE = '<div class="knobs-place"></div>'
MOST_CHARACTERS = 4_000
"""Of a value: more than all knobs together ever write."""


def draw_knobs(prefix: str, texts: str, knobs: Sequence[Param], keys: Mapping[str, str]) -> gr.HTML:
    """The widget. prefix: each range's id on the page is <prefix>-<name>; texts: <texts>.title, .hint and .reset in
    assets/i18n; keys: of the knobs' names there."""
    said = {
        language: {
            **{name: t(f"{texts}.{name}", language) for name in ("title", "hint", "reset")},
            "knobs": {knob.name: t(keys[knob.name], language) for knob in knobs},
        }
        for language in LANGUAGES
    }
    told = [
        {"name": one.name, "minimum": one.minimum, "maximum": one.maximum, "step": one.step, "usual": one.default}
        for one in knobs
    ]
    written = script(SCRIPT, knobs=told, texts=said, prefix=prefix)
    return gr.HTML("", html_template=PLACE, js_on_load=written, elem_id=prefix)


def write_knobs(values: Mapping[str, float]) -> str:
    """The widget's value that shows these; every other knob is as usual."""
    return json.dumps(values)


def read_knobs(value: Any, knobs: Sequence[Param], field: str) -> dict[str, float]:
    """What is not as usual, by the knobs' names.

    Raises InvalidInput that names the knob, or the field for what is no such value.
    """
    known = {knob.name: knob for knob in knobs}
    told = _parsed(value)
    if told is None or not told.keys() <= known.keys():
        raise InvalidInput("bad_knobs", field=field, choices=", ".join(known))
    for name, number in told.items():
        knob = known[name]
        whole = knob.kind == "int"
        if isinstance(number, bool) or not isinstance(number, int if whole else (int, float)):
            raise _out_of_bounds(knob, number)
        if not (knob.minimum or 0) <= number <= (knob.maximum or 0):  # NaN is within no bounds
            raise _out_of_bounds(knob, number)
    return {name: number for name, number in told.items() if number != known[name].default}


def _out_of_bounds(knob: Param, value: object) -> InvalidInput:
    key = "bad_whole_number" if knob.kind == "int" else "bad_number"
    return InvalidInput(key, field=knob.name, minimum=knob.minimum, maximum=knob.maximum, value=str(value)[:40])


def _parsed(value: Any) -> dict[str, Any] | None:
    """A JSON object; an empty one for nothing; None for anything else."""
    if value is None or value == "":
        return {}
    if not isinstance(value, str) or len(value) > MOST_CHARACTERS:
        return None
    try:
        told = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None
