"""A drawer at the page's edge: reads what it shows when it is opened, then every few seconds until it is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.ui import antd
from studio.ui.text import label, language_of
from studio.ui.widgets import INSTANT

Updates = dict[Any, Any]
WIDTH = 560
"""In pixels; a narrower screen it fills."""
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Drawer:
    """The drawer, its button that looks again, and the clock that runs only while it is open."""

    panel: antd.Drawer
    again: gr.Button
    clock: gr.Timer

    def connect(self, opener: gr.Button, look: Callable[[str], Updates], outputs: Sequence[Any]) -> None:
        """Wire it. look(language): the updates of `outputs`."""

        def refresh(request: gr.Request) -> Updates:
            return look(language_of(request))

        def opened(request: gr.Request) -> Updates:
            return {self.panel: gr.update(open=True), self.clock: gr.Timer(active=True), **refresh(request)}

        def closed() -> Updates:
            return {self.panel: gr.update(open=False), self.clock: gr.Timer(active=False)}

        opener.click(opened, None, [self.panel, self.clock, *outputs], **INSTANT)
        self.panel.close(closed, None, [self.panel, self.clock], **INSTANT)
        self.again.click(refresh, None, list(outputs), **INSTANT)
        self.clock.tick(refresh, None, list(outputs), **INSTANT)


@contextmanager
def draw_drawer(name: str, title: str) -> Iterator[Drawer]:
    """An empty drawer, closed; what is drawn inside the `with` stands in it. name: of its ids; title: a key."""
    clock = gr.Timer(LOOK_SECONDS, active=False)
    with antd.Drawer(title=label(title), width=WIDTH, placement="right", elem_classes="studio-drawer") as panel:
        with antd.Slot("extra"):
            again = gr.Button(label("drawer.again"), size="sm", min_width=0, scale=0, elem_id=f"{name}-again")
        with gr.Column(elem_classes="studio-stack", elem_id=name):
            yield Drawer(panel, again, clock)
