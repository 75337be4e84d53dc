"""A drawer reads what it shows only while somebody looks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr

from studio.ui.drawer import Drawer, draw_drawer

CHINESE = SimpleNamespace(query_params={"lang": "zh"}, headers={})


def wired(page: gr.Blocks) -> tuple[Drawer, gr.Button, gr.HTML, list[str]]:
    """A drawer whose content is the language it was read in, and each time it was read."""
    read: list[str] = []
    with draw_drawer("memory", "memory.title") as drawer:
        text = gr.HTML()

    def look(language: str) -> dict[Any, Any]:
        read.append(language)
        return {text: language}

    opener = gr.Button()
    drawer.connect(opener, look, [text])
    return drawer, opener, text, read


def happen(page: gr.Blocks, block: Any, event: str, *values: Any) -> dict[Any, Any]:
    (handler,) = [one for one in page.fns.values() if (block._id, event) in one.targets]
    return handler.fn(*values)


def test_it_is_closed_and_its_clock_stands_at_first(page: gr.Blocks):
    drawer, _, _, read = wired(page)
    assert not drawer.clock.active
    assert read == []


def test_opening_reads_and_starts_the_clock(page: gr.Blocks):
    drawer, opener, text, _ = wired(page)
    updates = happen(page, opener, "click", CHINESE)
    assert updates[drawer.panel]["open"]
    assert updates[drawer.clock].active
    assert updates[text] == "zh"


def test_a_tick_and_the_button_read_again(page: gr.Blocks):
    drawer, _, _, read = wired(page)
    happen(page, drawer.clock, "tick", CHINESE)
    happen(page, drawer.again, "click", CHINESE)
    assert read == ["zh", "zh"]


def test_closing_stops_the_clock_and_reads_nothing(page: gr.Blocks):
    drawer, _, _, read = wired(page)
    updates = happen(page, drawer.panel, "close")
    assert not updates[drawer.panel]["open"]
    assert not updates[drawer.clock].active
    assert read == []
