"""Low-rank patches of the weights: a style, a thing or somebody, added to a model as strongly as one likes.

Hu et al., 2106.09685. A clone of the model is given weights of its own where a LoRA changes them, and each call merges
its own strengths into those: a step costs no more than without, and the model itself is never written to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from studio.diffusion.lora_keys import block_of, pairs_of, scaling
from studio.errors import InvalidInput
from studio.types import MAX_CONTROL_SCALE, Control, ControlUse, GenerationRequest, Param

NAME, FIELD = "lora", "controls"
PARTS = ("unet", "text_encoder", "text_encoder_2")
MERGED = "merged_loras"
"""Under this name a part of a clone keeps its `MergedPart`."""
UNET, TEXT_ENCODER, RANK = "unet", "text_encoder", "rank"
MAX_RANK = 512
MAX_USES = 8
BLOCK = re.compile(r"(?:down_blocks|up_blocks)\.\d{1,2}|mid_block|text_encoder(?:_2)?\.layers\.\d{1,2}|\w{1,20}\.other")
PARAMS = (
    Param(UNET, "float", 1.0, 0.0, MAX_CONTROL_SCALE, 0.05),
    Param(TEXT_ENCODER, "float", 1.0, 0.0, MAX_CONTROL_SCALE, 0.05),
    Param(RANK, "int", 0, 0, MAX_RANK, 1),
)

Uses = Sequence[ControlUse]


def prepare(use: ControlUse, request: GenerationRequest) -> ControlUse:
    """The use as it is. options: unet and text_encoder, factors of the scale there; a block's name, a further factor
    for it; rank, to which each patch is cut (0: not at all).

    Raises InvalidInput that names what is wrong.
    """
    if sum(one.control_id == use.control_id for one in request.controls) > MAX_USES:
        raise InvalidInput("too_many_loras", field=FIELD, maximum=MAX_USES)
    if use.images or (use.start, use.end) != (0, 1):
        raise InvalidInput("lora_all_steps", field=FIELD)
    for name, value in use.options.items():
        _checked(name, value)
    return use


def _checked(name: str, value: Any) -> None:
    whole, maximum = (int, MAX_RANK) if name == RANK else ((int, float), MAX_CONTROL_SCALE)
    if name not in (UNET, TEXT_ENCODER, RANK) and not BLOCK.fullmatch(name):
        raise InvalidInput("unknown_option", field=FIELD, control=NAME, value=name[:40])
    if isinstance(value, bool) or not isinstance(value, whole) or not 0 <= value <= maximum:  # NaN is within no bounds
        raise InvalidInput("bad_number", field=name, minimum=0, maximum=maximum, value=str(value)[:40])


def adapt(parts: Mapping[str, Any], sets: Sequence[Any], uses: Uses) -> None:
    """Give a clone's modules weights of their own where the files change them. Nothing acts yet."""
    from studio.diffusion.lora_merge import modules_of, put_on

    networks = {name: parts[name] for name in PARTS if parts.get(name) is not None}
    modules = modules_of(networks)
    patches = {held.sha256: _factors(held, modules) for held in sets}
    for name, network in networks.items():
        own = {sha256: patch[name] for sha256, patch in patches.items() if name in patch}
        if own:
            setattr(network, MERGED, put_on(network, name, own))


def _factors(held: Any, modules: Any) -> dict[str, dict[str, Any]]:
    """Part -> module -> the matrices of one file. Raises InvalidInput for what is no LoRA of this model."""
    from studio.diffusion.lora_merge import Factors

    if held.spec.kind != "lora":
        raise InvalidInput("not_for_this_control", field=FIELD, model=held.spec.name, control=NAME)
    weights, metadata = held.components["weights"], held.components["metadata"]
    found: dict[str, dict[str, Any]] = {}
    try:
        pairs = pairs_of(weights, modules)
    except KeyError as error:
        raise InvalidInput("lora_of_other_model", field=FIELD, model=held.spec.name, value=str(error)[:80]) from error
    for pair in pairs:
        down, up = weights[pair.down], weights[pair.up]
        alpha = float(weights[pair.alpha]) if pair.alpha else None
        scaled = up * scaling(pair, len(down), alpha, metadata)
        found.setdefault(pair.part, {})[pair.module] = Factors(down, scaled)
    return found


@contextmanager
def patch(view: Any, sets: Sequence[Any], uses: Uses) -> Iterator[Mapping[str, Any]]:
    """Merge one call's strengths. They stay until a call with others comes: the clone is drawn with in no other way.

    Raises InvalidInput for a block that the model does not have.
    """
    merged = {name: getattr(getattr(view, name, None), MERGED, None) for name in PARTS}
    parts = {name: one for name, one in merged.items() if one is not None}
    named = {name for use in uses for name in use.options.keys() - {UNET, TEXT_ENCODER, RANK}}
    if named and (unknown := named - (blocks := blocks_of(view))):
        raise InvalidInput("not_a_choice", field=FIELD, value=min(unknown)[:40], choices=", ".join(sorted(blocks)))
    for name, one in parts.items():
        one.merge(_strengths(name, sets, uses))
    yield {}


def blocks_of(view: Any) -> set[str]:
    """The blocks of a model that can be given a factor."""
    networks = {name: getattr(view, name, None) for name in PARTS}
    return {
        block_of(part, name)
        for part, network in networks.items()
        if network is not None
        for name, _ in network.named_modules()
    }


def _strengths(part: str, sets: Sequence[Any], uses: Uses) -> dict[str, Any]:
    """How strongly each file acts on a part. Of one that is used twice, the later use holds."""
    from studio.diffusion.lora_merge import Strength

    return {
        held.sha256: Strength(
            float(use.scale * use.options.get(UNET if part == UNET else TEXT_ENCODER, 1.0)),
            tuple(sorted((name, float(value)) for name, value in use.options.items() if BLOCK.fullmatch(name))),
            int(use.options.get(RANK, 0)),
        )
        for held, use in zip(sets, uses, strict=True)
    }


CONTROL = Control(NAME, (), PARAMS, prepare, adapt, patch)
