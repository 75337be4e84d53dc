"""The pages of the studio. A new one is a file here, and a place in `TABS`."""

from __future__ import annotations

from studio.tabs import history, img2img, inpaint, text2img
from studio.types import Tab

TABS: tuple[Tab, ...] = (text2img.TAB, img2img.TAB, inpaint.TAB, history.TAB)
