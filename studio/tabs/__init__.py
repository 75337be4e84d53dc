"""The pages of the studio. A new one is a file here, and a place in `TABS`."""

from __future__ import annotations

from studio.tabs import (
    controlnet,
    forward_diffusion,
    history,
    img2img,
    inpaint,
    ip_adapter,
    lora,
    quant_compare,
    text2img,
)
from studio.types import Tab

TABS: tuple[Tab, ...] = (
    text2img.TAB,
    img2img.TAB,
    inpaint.TAB,
    controlnet.TAB,
    ip_adapter.TAB,
    lora.TAB,
    quant_compare.TAB,
    forward_diffusion.TAB,
    history.TAB,
)
