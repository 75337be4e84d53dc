"""Sentences of the page: which language, and what an error is called."""

from __future__ import annotations

import gradio as gr
import pytest

from studio.errors import InvalidInput
from studio.text import LANGUAGES, table
from studio.ui.text import describe, label, language_of, translations


def asking(query: dict[str, str], accept: str = "") -> gr.Request:
    return gr.Request(query_params=query, headers={"accept-language": accept})


@pytest.mark.parametrize(
    ("query", "accept", "language"),
    [
        ({}, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ({}, "zh", "zh"),
        ({}, "en-GB,en;q=0.9,zh;q=0.1", "en"),
        ({}, "fr", "en"),
        ({}, "", "en"),
        ({"lang": "zh"}, "en", "zh"),
        ({"lang": "en"}, "zh-CN", "en"),
    ],
)
def test_the_address_decides_the_language_before_the_browser(query: dict[str, str], accept: str, language: str):
    assert language_of(asking(query, accept)) == language


def test_every_language_is_handed_to_the_browser():
    assert translations().translations == {language: table(language) for language in LANGUAGES}


def test_an_unknown_label_is_found_while_the_page_is_built():
    with pytest.raises(KeyError):
        label("text2img.no_such_label")


def test_an_error_calls_the_field_as_the_page_does():
    error = InvalidInput("not_a_multiple", field="width", step=8, value=100)
    assert describe(error, "en") == "Width must be a multiple of 8; it is 100."
    assert describe(error, "zh").startswith("宽度")
