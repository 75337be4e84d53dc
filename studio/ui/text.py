"""The page's sentences: one gr.I18n for what the browser translates, and the language of a request for the rest."""

from __future__ import annotations

import gradio as gr
from gradio.i18n import I18nData

from studio.errors import StudioError
from studio.text import LANGUAGES, t, table
from studio.ui.language import QUERY_PARAMETER


def translations() -> gr.I18n:
    """Every sentence in every language, for `launch(i18n=...)`."""
    return gr.I18n(**{language: table(language) for language in LANGUAGES})


def label(key: str) -> I18nData:
    """A text that the browser translates. Raises KeyError for an unknown key, while the page is built."""
    table("en")[key]
    return I18nData(key)


def language_of(request: gr.Request | None) -> str:
    """The language of the person who asks: what the page's address says, else what the browser prefers."""
    if request is None:
        return "en"
    chosen = dict(request.query_params).get(QUERY_PARAMETER) or dict(request.headers).get("accept-language", "")
    return "zh" if chosen.lower().startswith("zh") else "en"


def describe(error: StudioError, language: str) -> str:
    """The error's sentence, with the field called as the page calls it."""
    values = dict(error.values)
    name = f"text2img.{values.get('field')}"
    if name in table(language):
        values["field"] = t(name, language)
    return type(error)(error.key, **values).message(language)
