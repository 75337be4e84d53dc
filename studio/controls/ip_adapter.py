"""Drawn after pictures: what an image encoder sees in them becomes a few tokens beside those of the prompt.

Ye et al., 2308.06721. Every cross-attention of the UNet gets keys and values of its own for those tokens:

    Attention(Q, K, V) + scale * sum_i share_i Attention(Q, K'_i, V'_i)

share_i: how much of a place belongs to reference i, by its weight and its mask; a place's shares sum to one at most.
During the steps from `start` to `end`, in the blocks that `where` names; elsewhere the scale is 0, and nothing is
computed that the base does not compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from studio.construction import imported
from studio.errors import InvalidInput
from studio.types import Control, ControlUse, GenerationRequest, ModelSpec, Param, Source

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

NAME, FIELD = "ip_adapter", "references"
MAX_REFERENCES = 4
MAX_WEIGHT = 2.0
EVERYWHERE = "all"
WHITE = 128
"""From this level on a mask lets its reference act."""

# Which blocks carry what, by family; the others stay as they are. The little world: each block acting alone gives the
# reference's style to .92 (up_blocks.2), .44 (down_blocks.0), .28 (up_blocks.1) and .13 (the others, as by chance:
# .14) of pictures, by `evaluate ip-adapter --samples 256 --seed 1`. Stable Diffusion 1.5: as the field's tools have it
# (cubiq/ComfyUI_IPAdapter_plus: style in cross-attentions 0-3 and 9-15, composition in 4-5 of 16).
PLACES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "little_world": {"style": ("down_blocks.0", "up_blocks"), "layout": ("down_blocks.1", "mid_block")},
        "sd15": {
            "style": ("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.2", "up_blocks.3"),
            "layout": ("down_blocks.2",),
        },
    }
)

# 468,096 parameters beside an encoder of 1,570,688.
LITTLE_WORLD = ModelSpec(
    id="little-world-ip-adapter",
    kind="ip_adapter",
    family="little_world",
    title="Little world, style by picture",
    sources=(Source("local", "models/little-world-ip-adapter", filename="ip_adapter.safetensors"),),
    image_encoder=(Source("local", "models/little-world-clip"),),
    native_size=128,
    bytes_estimate=4 * (468_096 + 1_570_688),
    license="apache-2.0",
)

# 22,319,616 parameters in half precision, beside an encoder (ViT-H/14 with its projection) of 632,076,800 in full.
SD15 = ModelSpec(
    id="sd15-ip-adapter",
    kind="ip_adapter",
    family="sd15",
    title="IP-Adapter for Stable Diffusion 1.5",
    sources=(
        Source("local", "models/sd15-ip-adapter", filename="ip-adapter_sd15.safetensors"),
        Source("huggingface", "h94/IP-Adapter", subfolder="models", filename="ip-adapter_sd15.safetensors"),
    ),
    native_size=512,
    bytes_estimate=4 * (22_319_616 + 632_076_800),
    download_bytes=2 * 22_319_616 + 4 * 632_076_800,
    license="apache-2.0",
    license_url="https://huggingface.co/h94/IP-Adapter",
)

WEIGHTS = tuple(f"weight_{number}" for number in range(1, MAX_REFERENCES + 1))
PARAMS = (
    Param("where", "choice", EVERYWHERE, choices=(EVERYWHERE, "style", "layout")),
    *(Param(name, "float", 1.0, 0.0, MAX_WEIGHT, 0.05) for name in WEIGHTS),
)

Uses = Sequence[ControlUse]


def prepare(use: ControlUse, request: GenerationRequest) -> ControlUse:
    """The use with its pictures as they are taken, and every option filled in.

    images: one to four references, RGB; with the option `masked` as many masks follow them, L, of the request's size,
    white where a reference acts; several references without masks get white ones. options: weight_1 and so on for each
    reference, not all 0; where: a choice of `PARAMS`. Raises InvalidInput that names what is wrong.
    """
    if sum(one.control_id == use.control_id for one in request.controls) > 1:
        raise InvalidInput("only_one_use", field="controls", control=use.control_id)
    where, masked = use.options.get("where", EVERYWHERE), use.options.get("masked", False)
    if where not in PARAMS[0].choices:
        choices = ", ".join(PARAMS[0].choices)
        raise InvalidInput("not_a_choice", field="where", value=str(where)[:40], choices=choices)
    count = len(use.images) // 2 if masked is True else len(use.images)
    if not 1 <= count <= MAX_REFERENCES or (masked is True and len(use.images) % 2):
        raise InvalidInput("number_of_references", field=FIELD, maximum=MAX_REFERENCES, value=count)
    if unknown := use.options.keys() - {"where", "masked", *WEIGHTS[:count]}:
        raise InvalidInput("unknown_option", field=FIELD, control=use.control_id, value=", ".join(sorted(unknown))[:40])
    weights = {name: _weight(name, use.options.get(name, 1.0)) for name in WEIGHTS[:count]}
    if not any(weights.values()):
        raise InvalidInput("no_weight", field="weight_1")
    references = tuple(picture.convert("RGB") for picture in use.images[:count])
    masks = tuple(_mask(picture, request) for picture in use.images[count:])
    if count > 1 and not masks:
        masks = (_everywhere(request),) * count
    return replace(use, images=(*references, *masks), options={**weights, "where": where, "masked": bool(masks)})


def _weight(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= MAX_WEIGHT:  # NaN is within no bounds
        raise InvalidInput("bad_number", field=name, minimum=0, maximum=MAX_WEIGHT, value=str(value)[:40])
    return float(value)


def _mask(picture: Image, request: GenerationRequest) -> Image:
    if picture.size != (request.width, request.height):
        found, wanted = (f"{w} × {h}" for w, h in (picture.size, (request.width, request.height)))
        raise InvalidInput("picture_of_another_size", field="references.mask", value=found, wanted=wanted)
    return picture.convert("L")


def _everywhere(request: GenerationRequest) -> Image:
    from PIL import Image

    return Image.new("L", (request.width, request.height), 255)


def adapt(parts: Mapping[str, Any], sets: Sequence[Any], uses: Uses) -> None:
    """Put the projection and the new keys and values on a clone's UNet, as stock diffusers does."""
    (held,) = sets
    grouped: dict[str, dict[str, Any]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in held.components["weights"].items():
        group, _, rest = name.partition(".")
        if group not in grouped:
            raise InvalidInput("not_an_ip_adapter", field="controls", model=held.spec.name, value=name[:40])
        grouped[group][rest] = tensor
    made = imported("diffusers", "StableDiffusionPipeline")
    pipeline = made(**{**parts, **_vision(sets, uses)}, requires_safety_checker=False)
    pipeline.load_ip_adapter(grouped, subfolder="", weight_name="", image_encoder_folder=None)


def _vision(sets: Sequence[Any], uses: Uses) -> dict[str, Any]:
    """What sees the references."""
    return {name: sets[0].components[name] for name in ("image_encoder", "feature_extractor")}


@contextmanager
def patch(view: Any, sets: Sequence[Any], uses: Uses) -> Iterator[Mapping[str, Any]]:
    """Set the scales of one call; the references, and their shares where they have masks, are arguments of it.

    Raises InvalidInput for a place that nobody has found in this family.
    """
    (use,), family = uses, sets[0].spec.family
    weights = [use.options[name] for name in WEIGHTS if name in use.options]
    references, masks = use.images[: len(weights)], use.images[len(weights) :]
    processors = processors_of(view.unet)
    before = {name: list(processor.scale) for name, processor in processors.items()}
    scales = {name: use.scale * acts_in(name, use.options["where"], family) for name in processors}
    hooks = [] if (use.start, use.end) == (0, 1) else [_following(view, use, scales)]
    set_scales(processors, scales)
    given: dict[str, Any] = {"ip_adapter_image": [list(references)]}
    if masks:
        of_latents = shares(weights, masks, view.vae_scale_factor)
        given["cross_attention_kwargs"] = {"ip_adapter_masks": [of_latents]}
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()
        for name, kept in before.items():
            processors[name].scale = kept


def processors_of(unet: Any) -> dict[str, Any]:
    """The cross-attentions' processors that read a picture's tokens, by their names."""
    return {name: one for name, one in unet.attn_processors.items() if hasattr(one, "to_k_ip")}


def set_scales(processors: Mapping[str, Any], scales: Mapping[str, float]) -> None:
    for name, processor in processors.items():
        processor.scale = [scales[name]]


def acts_in(name: str, where: str, family: str) -> bool:
    """Whether a cross-attention is one of those that a place means. Raises InvalidInput for an unknown place."""
    if where == EVERYWHERE:
        return True
    places = PLACES.get(family, {})
    if where not in places:
        raise InvalidInput("not_a_choice", field="where", value=where, choices=", ".join((EVERYWHERE, *places)))
    return name.startswith(tuple(f"{place}." for place in places[where]))


def _following(view: Any, use: ControlUse, scales: Mapping[str, float]) -> Any:
    """A hook that has the references act during a use's share of the steps alone, counted as ControlNets' are."""
    processors = processors_of(view.unet)
    still = dict.fromkeys(scales, 0.0)

    def set_for_step(unet: Any, arguments: tuple[Any, ...]) -> None:
        # By its time, not by counting calls: whoever looks inside may call twice in a step.
        total = view.num_timesteps
        index = int((view.scheduler.timesteps[-total:] == arguments[1]).nonzero()[0])
        set_scales(processors, scales if is_acting(index, total, use.start, use.end) else still)

    return view.unet.register_forward_pre_hook(set_for_step)


def is_acting(index: int, total: int, start: float, end: float) -> bool:
    """Whether step `index` of `total`, counted from 0, lies between two shares of the steps."""
    return index / total >= start and (index + 1) / total <= end


def shares(weights: Sequence[float], masks: Sequence[Image], block: int) -> torch.Tensor:
    """How much of each latent belongs to each reference, (1, n, h, w): by weight where several act, 0 where none does.

    weights, masks: n each; block: a latent's side in pixels.
    """
    import numpy as np
    import torch
    from PIL import Image

    size = (masks[0].width // block, masks[0].height // block)
    hard = [mask.point(lambda level: 255 * (level >= WHITE)) for mask in masks]
    covers = np.stack([np.asarray(mask.resize(size, Image.Resampling.BOX)) / 255 for mask in hard])  # (n, h, w)
    weighted = np.asarray(weights)[:, None, None] * covers
    together = weighted.sum(0)
    share = weighted / np.where(together > 0, together, 1) * np.minimum(1, covers.sum(0))
    return torch.from_numpy(share[None].astype(np.float32))


CONTROL = Control(NAME, (LITTLE_WORLD, SD15), PARAMS, prepare, adapt, patch, _vision)
