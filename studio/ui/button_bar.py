"""Buttons that are one widget: every widget costs the browser time with every event, and a page has many buttons.
`assets/button_bar.js` draws them; the value is the name of the one that was pressed last.
"""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from studio.settings import ROOT
from studio.text import LANGUAGES, t
from studio.ui.widgets import script

SCRIPT = (ROOT / "assets" / "button_bar.js").read_text(encoding="utf-8")
PLACE = '<div class="button-bar-place"></div>'


def draw_button_bar(prefix: str, keys: Mapping[str, str], visible: bool = True) -> gr.HTML:
    """The widget; its `input` is a press. prefix: each button's id on the page is <prefix>-<name>; keys: of the texts
    in assets/i18n, by the buttons' names."""
    texts = {language: {name: t(key, language) for name, key in keys.items()} for language in LANGUAGES}
    written = script(SCRIPT, names=list(keys), texts=texts, prefix=prefix)
    return gr.HTML("", html_template=PLACE, js_on_load=written, visible=visible, elem_classes="studio-button-bar")
