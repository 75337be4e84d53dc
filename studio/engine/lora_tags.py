"""`<lora:name:weight>` in a prompt, as AUTOMATIC1111 and its relatives write it.

    <lora:momo>                          weight 1
    <lora:momo:0.8>                      of text encoder and UNet
    <lora:momo:0.5:0.8>                  of the text encoder, and of the UNet
    <lora:momo:te=0.5:unet=0.8:rank=4:up_blocks.1=0>

The text encoder never reads a tag: what is drawn is a prompt without tags and a list of controls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from studio.errors import InvalidInput
from studio.types import ControlUse, GenerationRequest, ModelSpec

CONTROL_ID = "lora"
FIELD = "prompt"
TAG = re.compile(r"<lora:([^<>]{1,300})>", re.IGNORECASE)
TEXT_ENCODER, UNET, RANK = "text_encoder", "unet", "rank"
NAMES = {"te": TEXT_ENCODER, "unet": UNET}
POSITIONS = (TEXT_ENCODER, UNET)
HASH_DIGITS = 12
MOST = 1e6
"""Far beyond any weight; what a weight may be, the control says."""


@dataclass(frozen=True)
class Tag:
    """One tag. options: as `studio.controls.lora` takes them, with factors of the scale for UNet and text encoder."""

    name: str
    scale: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = dict(self.options)
        of_text, of_unet = (self.scale * told.pop(part, 1.0) for part in POSITIONS)
        weights = f"{of_unet:g}" if of_text == of_unet else f"te={of_text:g}:unet={of_unet:g}"
        return f"<lora:{self.name}:{weights}{''.join(f':{name}={value:g}' for name, value in sorted(told.items()))}>"


def split_tags(prompt: str) -> tuple[str, list[Tag]]:
    """A prompt without its tags, and the tags. Raises InvalidInput that names a tag which cannot be read."""
    tags = [read_tag(match[1]) for match in TAG.finditer(prompt)]
    if not tags:
        return prompt, []
    return re.sub(r"[ \t]{2,}", " ", TAG.sub("", prompt)).strip(), tags


def read_tag(text: str) -> Tag:
    """What stands between `<lora:` and `>`. Raises InvalidInput where it cannot be read."""
    name, *told = (part.strip() for part in text.split(":"))
    if not name or set(name) & set("<>\n"):
        raise InvalidInput("bad_lora_tag", field=FIELD, value=text[:60])
    positions = iter(POSITIONS)
    values: dict[str, float] = {}
    for part in told:
        key, equals, value = part.partition("=")
        place = NAMES.get(key.strip(), key.strip()) if equals else next(positions, "")
        try:
            number = float(value if equals else part)
        except ValueError:
            place, number = "", 0.0
        if not place or place in values or not 0 <= number < MOST:
            raise InvalidInput("bad_lora_tag", field=FIELD, value=text[:60])
        values[place] = int(number) if place == RANK and number.is_integer() else number
    of_text = values.pop(TEXT_ENCODER, None)
    of_unet = values.pop(UNET, 1.0 if of_text is None else of_text)
    of_text = of_unet if of_text is None else of_text
    return Tag(name, *weighed(of_unet, of_text, values))


def weighed(of_unet: float, of_text: float, options: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    """A scale, and options with the factors that make two weights of it."""
    scale = max(of_unet, of_text)
    factors = {UNET: of_unet, TEXT_ENCODER: of_text} if of_unet != of_text else {}
    return scale, {**options, **{part: weight / scale for part, weight in factors.items() if weight != scale}}


def model_id(name: str, tensors_sha256: str) -> str:
    """The id of a LoRA's specification: another file under the same name is another model."""
    return f"{CONTROL_ID}-{name}-{tensors_sha256[:HASH_DIGITS]}"


def tag_of(use: ControlUse) -> Tag:
    """The tag that stands for a use."""
    return Tag(name_and_hash(use)[0], float(use.scale), use.options)


def name_and_hash(use: ControlUse) -> tuple[str, str]:
    """A LoRA's name, and AUTOMATIC1111's twelve digits of its hash."""
    name, _, digits = use.model_id.removeprefix(f"{CONTROL_ID}-").rpartition("-")
    return name, digits


def with_tags(prompt: str, uses: Iterable[ControlUse]) -> str:
    """A prompt with the tags of those of a request's uses that are LoRAs."""
    tags = [str(tag_of(use)) for use in uses if use.control_id == CONTROL_ID]
    return " ".join(filter(None, (prompt, *tags)))


def tagged(values: Mapping[str, Any]) -> dict[str, Any]:
    """A record's values with its LoRAs as tags of the prompt, where a person sees and changes them."""
    uses, prompt = values.get("controls", ()), values.get("prompt", "")
    others = tuple(use for use in uses if use.control_id != CONTROL_ID)
    if len(others) == len(uses) or not isinstance(prompt, str):
        return dict(values)
    kept = {name: value for name, value in values.items() if name != "controls"}
    return {**kept, "prompt": with_tags(prompt, uses), **({"controls": others} if others else {})}


def lora_hashes(uses: Iterable[ControlUse]) -> str | None:
    """What stands under "Lora hashes" in a picture: "name: hash, name: hash"; None for a request without LoRAs."""
    pairs = [name_and_hash(use) for use in uses if use.control_id == CONTROL_ID]
    return ", ".join(f"{re.sub('[:,]', '', name)}: {digits}" for name, digits in pairs) or None


def with_loras(request: GenerationRequest, specs: Mapping[str, ModelSpec]) -> GenerationRequest:
    """The request as it is drawn: the tags of its prompt have become controls. The same request where it has none.

    specs: every model that may be leased, by id; of several LoRAs of one name the last one is meant. Raises
    InvalidInput for a tag that cannot be read, and for a LoRA that is not at hand or is asked for twice.
    """
    prompt, tags = split_tags(request.prompt)
    if not tags:
        return request
    known = {spec.name: spec for spec in specs.values() if spec.kind == "lora"}
    uses = list(request.controls)
    for tag in tags:
        if tag.name not in known:
            raise InvalidInput("no_such_lora", field=FIELD, value=tag.name[:40], choices=", ".join(known) or "-")
        use = ControlUse(CONTROL_ID, known[tag.name].id, scale=tag.scale, options=tag.options)
        if any(one.model_id == use.model_id for one in uses):
            raise InvalidInput("lora_twice", field=FIELD, value=tag.name[:40])
        uses.append(use)
    return replace(request, prompt=prompt, controls=tuple(uses))
