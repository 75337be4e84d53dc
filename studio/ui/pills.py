"""Words to press that are one widget, however many there are. `assets/pills.js` draws them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.settings import ROOT

SCRIPT = (ROOT / "assets" / "pills.js").read_text(encoding="utf-8")
PLACE = '<div class="pills-place"></div>'


def draw_pills(elem_id: str) -> gr.HTML:
    """The widget, without a word; its `input` is a press."""
    return gr.HTML("", html_template=PLACE, js_on_load=SCRIPT, elem_id=elem_id)


def write_pills(words: Sequence[str]) -> str:
    """The value that shows these words."""
    return json.dumps({"words": list(words)})


def pressed(value: Any) -> str:
    """The word that was pressed last; empty where none was, or where it is none of those that are shown."""
    try:
        told = json.loads(value) if isinstance(value, str) else {}
    except ValueError:
        return ""
    word = told.get("pressed") if isinstance(told, dict) else None
    return word if isinstance(word, str) and word in told.get("words", ()) else ""
