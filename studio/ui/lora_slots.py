"""Places for LoRAs that act: which one, how strongly in UNet and text encoder, in which blocks, cut to which rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.engine.lora_tags import RANK, TEXT_ENCODER, Tag, split_tags, weighed
from studio.engine.lora_tags import UNET as TO_UNET
from studio.errors import InvalidInput
from studio.types import MAX_CONTROL_SCALE, Param
from studio.ui.knobs import draw_knobs, read_knobs, write_knobs
from studio.ui.text import label

Updates = dict[Any, Any]
SLOTS = 3
BLOCKS = (*(f"down_blocks.{n}" for n in range(4)), "mid_block", *(f"up_blocks.{n}" for n in range(4)))
"""Of the UNets that the studio knows; a smaller one has fewer."""
UNET, TEXT, FINER = "unet_weight", "text_weight", "finer"
MAX_RANK = 64
STEP = 0.05
KNOBS = (
    Param(RANK, "int", 0, 0, MAX_RANK, 1),
    *(Param(block, "float", 1, 0, MAX_CONTROL_SCALE, STEP) for block in BLOCKS),
)
"""What is turned under "finer": the rank that it is cut to, 0 for all of it, and a factor for each block."""


@dataclass(frozen=True)
class Slot:
    """One place. finer: the rank and a factor for each block of the UNet, as KNOBS."""

    number: int
    name: gr.Dropdown
    unet: gr.Slider
    text: gr.Slider
    finer: gr.HTML

    @property
    def fields(self) -> dict[str, Any]:
        """Its widgets by the names under which a wish takes them."""
        own = {"name": self.name, UNET: self.unet, TEXT: self.text, FINER: self.finer}
        return {f"lora{self.number}_{name}": widget for name, widget in own.items()}

    def updates(self, tag: Tag | None) -> Updates:
        """The place as a tag says; empty without one."""
        if tag is None:
            return {self.name: "", self.unet: 1.0, self.text: 1.0, self.finer: ""}
        told = dict(tag.options)
        unet, text = (tag.scale * told.pop(part, 1.0) for part in (TO_UNET, TEXT_ENCODER))
        return {self.name: tag.name, self.unet: unet, self.text: text, self.finer: write_knobs(told)}


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
        keys = {RANK: "loras.cut", **{block: f"loras.of.{block}" for block in BLOCKS}}
        finer = draw_knobs(f"{stem}-finer", "loras.finer", KNOBS, keys)
    return Slot(number, name, unet, text, finer)


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
    for field in (UNET, TEXT):
        value = own.get(field, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_CONTROL_SCALE:
            raise InvalidInput("bad_number", field=field, minimum=0, maximum=MAX_CONTROL_SCALE, value=str(value)[:40])
    options = read_knobs(own.get(FINER), KNOBS, FINER)
    return Tag(name, *weighed(float(own.get(UNET, 1.0)), float(own.get(TEXT, 1.0)), options))


def refilled(slots: Sequence[Slot], names: Collection[str], prompt: str) -> tuple[str, Updates]:
    """A prompt whose tags have gone into the places, and the places. What they cannot show stays a tag: a name that is
    not at hand, an option that has no knob, or one more LoRA than there are places. Raises InvalidInput."""
    text, tags = split_tags(prompt)
    shown = [tag for tag in tags if tag.name in names and _fits(tag)][: len(slots)]
    kept = [str(tag) for tag in tags if not any(tag is one for one in shown)]
    updates: Updates = {}
    for place, slot in enumerate(slots):
        updates |= slot.updates(shown[place] if place < len(shown) else None)
    return " ".join([text, *kept]).strip(), updates


def _fits(tag: Tag) -> bool:
    """Whether a place has a knob for all that a tag says, and each within its bounds."""
    told = {name: value for name, value in tag.options.items() if name not in (TO_UNET, TEXT_ENCODER)}
    try:
        read_knobs(write_knobs(told), KNOBS, FINER)
    except InvalidInput:
        return False
    return tag.scale <= MAX_CONTROL_SCALE
