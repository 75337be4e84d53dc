"""What a tab is given to build itself with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gradio as gr

if TYPE_CHECKING:
    from studio.build import Studio


@dataclass(frozen=True)
class Services:
    """The studio behind the page, the page, and what its tabs share.

    owner: the name under which this browser's jobs run. tab: the one that is being built, among `tabs`. sent: a
    picture on its way to the text-to-image tab, as `Sent`.
    """

    studio: Studio
    blocks: gr.Blocks
    owner: gr.BrowserState
    tabs: gr.Tabs
    tab: gr.Tab
    sent: gr.State


@dataclass(frozen=True)
class Sent:
    """The bytes of a PNG that says how to draw it. token: makes the same picture, sent again, another message."""

    data: bytes
    token: str
