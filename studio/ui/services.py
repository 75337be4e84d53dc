"""What a tab is given to build itself with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gradio as gr

if TYPE_CHECKING:
    from studio.build import Studio


@dataclass(frozen=True)
class Services:
    """The studio behind the page, the page, and the name under which this browser's jobs run."""

    studio: Studio
    blocks: gr.Blocks
    owner: gr.BrowserState
