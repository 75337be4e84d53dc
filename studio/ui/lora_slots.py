"""Places for LoRAs that act: which one, how strongly in UNet and text encoder, in which blocks, cut to which rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.engine.lora_tags import Tag, weighed
from studio.errors import InvalidInput
from studio.types import MAX_CONTROL_SCALE
from studio.ui.text import label

SLOTS = 3
BLOCKS = (*(f"down_blocks.{n}" for n in range(4)), "mid_block", *(f"up_blocks.{n}" for n in range(4)))
"""Of the UNets that the studio knows; a smaller one has fewer."""
UNET, TEXT = "unet_weight", "text_weight"
MAX_RANK = 64
STEP = 0.05


@dataclass(frozen=True)
class Slot:
    """One place. blocks: a factor for each block of the UNet; rank: 0 for all of it."""

    number: int
    name: gr.Dropdown
    unet: gr.Slider
    text: gr.Slider
    rank: gr.Slider
    blocks: Mapping[str, gr.Slider]

    @property
    def fields(self) -> dict[str, Any]:
        """Its widgets by the names under which a wish takes them."""
        own = {"name": self.name, UNET: self.unet, TEXT: self.text, "rank": self.rank, **self.blocks}
        return {f"lora{self.number}_{name}": widget for name, widget in own.items()}


def draw_slot(number: int, prefix: str) -> Slot:
    """The widgets. number: from 1; prefix: of their ids on the page."""
    stem = f"{prefix}-{number}"
    with gr.Column(elem_classes="lora-slot"):
        name = gr.Dropdown([("—", "")], value="", label=label("loras.slot"), elem_id=f"{stem}-name")
        with gr.Row():
            unet, text = (
                gr.Slider(
                    0, MAX_CONTROL_SCALE, 1.0, step=STEP, label=label(f"loras.{field}"), min_width=130,
                    elem_id=f"{stem}-{field}",
                )
                for field in (UNET, TEXT)
            )  # fmt: skip
        with gr.Accordion(label("loras.finer"), open=False, elem_id=f"{stem}-finer", elem_classes="studio-lights"):
            rank = gr.Slider(0, MAX_RANK, 0, step=1, label=label("loras.cut"), info=label("loras.cut_info"))
            with gr.Row():
                blocks = {
                    block: gr.Slider(
                        0, MAX_CONTROL_SCALE, 1.0, step=STEP, label=label(f"loras.of.{block}"), min_width=130
                    )
                    for block in BLOCKS
                }
    return Slot(number, name, unet, text, rank, blocks)


def taken_tags(values: dict[str, Any]) -> list[Tag]:
    """The tags of the places that are taken; takes their raw values out of `values`. Raises InvalidInput."""
    found = []
    for number in range(1, SLOTS + 1):
        stem = f"lora{number}_"
        own = {name.removeprefix(stem): values.pop(name) for name in list(values) if name.startswith(stem)}
        name = own.pop("name", "")
        if name:
            found.append(_tag(str(name), own))
    return found


def _tag(name: str, own: Mapping[str, Any]) -> Tag:
    """One place's tag; what stands at its usual value is left out."""
    for field, value in own.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_RANK:
            raise InvalidInput("bad_number", field=field, minimum=0, maximum=MAX_RANK, value=str(value)[:40])
    options = {block: float(own[block]) for block in BLOCKS if own.get(block, 1.0) != 1.0}
    if own.get("rank", 0):
        options["rank"] = int(own["rank"])
    return Tag(name, *weighed(float(own.get(UNET, 1.0)), float(own.get(TEXT, 1.0)), options))
