"""What all ControlNets have in common: their models, the check of a map, and how a pipeline is given it.

Zhang et al., 2302.05543: a copy of the UNet's encoder reads the map, and what it finds is added to the UNet's own
features, `scale` times, during the steps from `start` to `end`. Several units add up.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.errors import InvalidInput
from studio.types import Control, ControlUse, GenerationRequest, ModelSpec, Source

if TYPE_CHECKING:
    from PIL.Image import Image

FIELD = "controls"
SD15_BYTES_FLOAT32 = 1_445_116_480
"""361,279,120 parameters, each with Stable Diffusion 1.5's widths."""
SD15_BYTES_FLOAT16 = 722_558_240
LITTLE_WORLD_BYTES = 21_291_200

Uses = Sequence[ControlUse]


def little_world(kind: str) -> ModelSpec:
    """The little world's own ControlNet for a kind of map."""
    return ModelSpec(
        id=f"little-world-controlnet-{kind}",
        kind="controlnet",
        family="little_world",
        title=f"Little world, {kind}",
        sources=(Source("local", f"models/little-world/controlnet-{kind}"),),
        native_size=128,
        bytes_estimate=LITTLE_WORLD_BYTES,
        license="apache-2.0",
    )


def sd15(kind: str, repo: str) -> ModelSpec:
    """ControlNet 1.1 for Stable Diffusion 1.5, by its authors. repo: of lllyasviel's on Hugging Face."""
    return ModelSpec(
        id=f"sd15-controlnet-{kind}",
        kind="controlnet",
        family="sd15",
        title=f"ControlNet 1.1, {kind}",
        sources=(Source("local", f"models/sd15-controlnet-{kind}"), Source("huggingface", f"lllyasviel/{repo}")),
        native_size=512,
        bytes_estimate=SD15_BYTES_FLOAT32,
        download_bytes=SD15_BYTES_FLOAT16,
        variant="fp16",
        license="CreativeML Open RAIL-M",
        license_url="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    )


def controlnet(control_id: str, specs: tuple[ModelSpec, ...], empty: str, is_empty: Callable[[Image], bool]) -> Control:
    """The control for one kind of map. empty: the error that names a map for which `is_empty`, of an RGB picture."""

    def prepare(use: ControlUse, request: GenerationRequest) -> ControlUse:
        picture = _checked_map(use, request)
        if is_empty(picture):
            raise InvalidInput(empty, field=FIELD)
        return replace(use, images=(picture,))

    return Control(control_id, specs, (), prepare, None, _patch, _parts)


def is_dark(picture: Image) -> bool:
    """Whether a map of lines on black shows none: nothing in it is brighter than a file's noise."""
    return max(brightest for _, brightest in picture.getextrema()) < 32  # type: ignore[misc]  # RGB: pairs


def is_flat(picture: Image) -> bool:
    """Whether a map is of one colour alone."""
    return all(darkest == brightest for darkest, brightest in picture.getextrema())  # type: ignore[misc]  # RGB: pairs


def _checked_map(use: ControlUse, request: GenerationRequest) -> Image:
    """A use's map as RGB. Raises InvalidInput unless it has one map of the request's size, and no options."""
    if len(use.images) != 1:
        raise InvalidInput("needs_map", field=FIELD, control=use.control_id, value=len(use.images))
    if use.options:
        raise InvalidInput("unknown_option", field=FIELD, control=use.control_id, value=", ".join(use.options)[:40])
    (picture,) = use.images
    size = (request.width, request.height)
    if picture.size != size:
        found, wanted = (f"{width} × {height}" for width, height in (picture.size, size))
        raise InvalidInput("picture_of_another_size", field=FIELD, value=found, wanted=wanted)
    return picture.convert("RGB")


def _parts(sets: Sequence[Any], uses: Uses) -> dict[str, Any]:
    """The networks of the uses: one as it is, several as diffusers' MultiControlNet takes them."""
    return {"controlnet": _one_or_all([one.components["controlnet"] for one in sets])}


@contextmanager
def _patch(view: Any, sets: Sequence[Any], uses: Uses) -> Iterator[Mapping[str, Any]]:
    """The arguments of a pipeline's call. Nothing is put on what others share."""
    # A pipeline that draws from a picture calls that one `image`.
    name = "control_image" if "control_image" in inspect.signature(type(view).__call__).parameters else "image"
    yield {
        name: _one_or_all([use.images[0] for use in uses]),
        "controlnet_conditioning_scale": _one_or_all([float(use.scale) for use in uses]),
        "control_guidance_start": _one_or_all([float(use.start) for use in uses]),
        "control_guidance_end": _one_or_all([float(use.end) for use in uses]),
    }


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
