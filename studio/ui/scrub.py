"""A view that follows a slider while it is dragged: `assets/scrub.js` asks for it past gradio's events.

Each event of gradio's costs the browser a walk over the whole page; here a move costs one question and one answer. A
question names what the view is of by a name that the view came with and that nobody can guess, and carries nothing else
but the slider's value: what a person uploaded never comes back from the browser as a path.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

import gradio as gr

from studio.errors import StudioError
from studio.settings import ROOT
from studio.ui.widgets import script

SCRIPT = (ROOT / "assets" / "scrub.js").read_text(encoding="utf-8")
MOST = 64
"""How many views can be moved on; the one that was shown the longest ago is forgotten first."""
Shown = TypeVar("Shown")


class Scrub(Generic[Shown]):
    """Views by name. draw(what, value): the HTML of a view at the slider's value; raises StudioError."""

    def __init__(self, draw: Callable[[Shown, object], str]) -> None:
        self._draw, self._lock = draw, Lock()
        self._shown: OrderedDict[str, Shown] = OrderedDict()

    def keep(self, what: Shown, value: object) -> str:
        """The view at a value, which can be moved on from there. Raises as `draw`."""
        html, name = self._draw(what, value), secrets.token_urlsafe(16)
        with self._lock:
            self._shown[name] = what
            while len(self._shown) > MOST:
                self._shown.popitem(last=False)
        return named(html, name)

    def moved(self, name: object, value: object) -> str:
        """The view of this name at another value; nothing where it is not known, or the value is none of its own."""
        with self._lock:
            what = self._shown.get(name) if isinstance(name, str) else None
        if what is None:
            return ""
        try:
            return named(self._draw(what, value), str(name))
        except StudioError:
            return ""

    def place(self, slider: str, elem_id: str) -> gr.HTML:
        """The widget that shows the views. slider: the id of what moves them."""

        def view(question: Any) -> str:
            asked = question if isinstance(question, dict) else {}
            return self.moved(asked.get("name"), asked.get("value"))

        return gr.HTML(js_on_load=script(SCRIPT, slider=slider), server_functions=[view], elem_id=elem_id)


def named(html: str, name: str) -> str:
    return f'<div data-scrub="{name}">{html}</div>'
