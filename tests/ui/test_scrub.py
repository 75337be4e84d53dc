"""A view that follows a slider: only who was shown it can move it, and only to where it can be drawn."""

from __future__ import annotations

import re

import gradio as gr
import pytest

from studio.errors import InvalidInput
from studio.ui import scrub
from studio.ui.scrub import Scrub


def drawn(what: str, value: object) -> str:
    if value not in (1, 2):
        raise InvalidInput("bad_whole_number", field="t", minimum=1, maximum=2, value=str(value))
    return f"{what} at {value}"


def name_in(html: str) -> str:
    found = re.search(r'data-scrub="([^"]+)"', html)
    assert found
    return found[1]


def test_a_view_is_moved_by_the_name_that_it_came_with():
    views = Scrub(drawn)
    one, other = views.keep("cat", 1), views.keep("house", 1)
    assert "cat at 1" in one and name_in(one) != name_in(other)
    assert views.moved(name_in(one), 2) == one.replace("at 1", "at 2")


@pytest.mark.parametrize("name", ["", "../etc/passwd", None, {"path": "/etc/passwd"}, 3])
def test_an_unknown_name_shows_nothing(name: object):
    views = Scrub(drawn)
    views.keep("cat", 1)
    assert views.moved(name, 1) == ""


def test_a_value_that_cannot_be_drawn_shows_nothing_and_at_the_beginning_is_refused():
    views = Scrub(drawn)
    assert views.moved(name_in(views.keep("cat", 1)), 3) == ""
    with pytest.raises(InvalidInput, match="t must"):
        views.keep("cat", "many")


def test_the_oldest_view_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scrub, "MOST", 2)
    views = Scrub(drawn)
    first, second, third = (name_in(views.keep(what, 1)) for what in ("a", "b", "c"))
    assert [bool(views.moved(name, 1)) for name in (first, second, third)] == [False, True, True]


def test_what_a_browser_asks_is_read_with_care(page: gr.Blocks):
    views = Scrub(drawn)
    ask = views.place("slider", "place").view  # as gradio calls it
    assert "cat at 2" in ask({"name": name_in(views.keep("cat", 1)), "value": 2})
    assert ask(None) == ask("cat") == ask({"value": 1}) == ""
