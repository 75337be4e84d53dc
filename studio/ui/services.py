"""What a tab is given to build itself with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import gradio as gr

from studio.types import ModelSpec
from studio.ui.opening import Opening

if TYPE_CHECKING:
    from studio.build import Studio


@dataclass(frozen=True)
class ModelChoice:
    """Where a model is chosen. specs: what may be offered, by id, the default first."""

    widget: gr.Dropdown
    specs: Mapping[str, ModelSpec]


@dataclass(frozen=True)
class Services:
    """The studio behind the page, the page, and what its tabs share.

    owner: the name under which this browser's jobs run. tab: the one that is being built, among `tabs`. sent: a
    picture on its way to another tab, as `Sent`. opening: what is done when the page is opened.
    """

    studio: Studio
    blocks: gr.Blocks
    owner: gr.BrowserState
    tabs: gr.Tabs
    tab: gr.Tab
    sent: gr.State
    models: list[ModelChoice] = field(default_factory=list)
    """Where a model is chosen, on whichever tab: the page keeps them to what is at hand."""
    opening: Opening = field(default_factory=Opening)


@dataclass(frozen=True)
class Sent:
    """The bytes of a PNG that says how to draw it. token: makes the same picture, sent again, another message.

    tab: where it goes; as_input: to be drawn from, rather than to be drawn again.
    """

    data: bytes
    token: str
    tab: str = "text2img"
    as_input: bool = False
