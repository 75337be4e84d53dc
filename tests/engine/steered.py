"""Controls as small as they can be, over tiny models: a LoRA and an IP-Adapter on a clone, a ControlNet beside it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studio.engine.loaders import ComponentSet, FolderLoader
from studio.engine.memory import storages
from studio.engine.registry import Registry
from studio.types import Control, ControlUse, Family, GenerationRequest, ModelSpec, PipelineKey, Source, Task
from tests.tiny_adapters import make_controlnet, make_image_encoder, make_ip_adapter, make_lora

Sets = Sequence[ComponentSet]
Uses = Sequence[ControlUse]
CONTROLNETS = {
    Task.TEXT_TO_IMAGE: "StableDiffusionControlNetPipeline",
    Task.IMAGE_TO_IMAGE: "StableDiffusionControlNetImg2ImgPipeline",
}


def spec(name: str, kind: Any, family: str = "sd15") -> ModelSpec:
    return ModelSpec(name, kind, family, (Source("local", name),), bytes_estimate=100_000)


LORAS = (spec("lora-a", "lora"), spec("lora-b", "lora"))
IP_ADAPTER = spec("ip", "ip_adapter")
CONTROLNETS_SPECS = (spec("net-a", "controlnet"), spec("net-zero", "controlnet"))


@dataclass(frozen=True)
class AdapterLoader:
    """Reads tiny models, and makes what steers them. folder: where the files of adapters are written."""

    load: FolderLoader
    folder: Path

    def __call__(self, spec: ModelSpec, key: PipelineKey) -> ComponentSet:
        if spec.kind == "base":
            return self.load(spec, key)
        parts = self._parts(spec)
        size = sum(storages(parts.values()).values())
        digest = hashlib.sha256(spec.id.encode()).hexdigest()
        return ComponentSet(parts, spec, spec.sources[0], size, digest, None, 0.0)

    def _parts(self, spec: ModelSpec) -> dict[str, Any]:
        from safetensors.torch import load_file

        base, seed = self.load.root / "sd15", len(spec.id) + ord(spec.id[-1])
        if spec.kind == "controlnet":
            return {"controlnet": make_controlnet(base, seed, strength=0.0 if spec.id == "net-zero" else 0.2)}
        make = make_lora if spec.kind == "lora" else make_ip_adapter
        file = self.folder / f"{spec.id}.safetensors"
        weights = load_file(file if file.exists() else make(file, base, seed))
        return {"weights": weights, **(make_image_encoder() if spec.kind == "ip_adapter" else {})}


def stock(parts: Mapping[str, Any]) -> Any:
    """diffusers' own pipeline over these parts, to load adapters with."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


def name_of(one: ComponentSet) -> str:
    return f"lora-{one.sha256[:16]}"


def put_loras(parts: Mapping[str, Any], sets: Sets, uses: Uses) -> None:
    pipeline = stock(parts)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)  # several is what is wanted
        for one in sets:
            pipeline.load_lora_weights(dict(one.components["weights"]), adapter_name=name_of(one))


@contextmanager
def weigh_loras(view: Any, sets: Sets, uses: Uses) -> Iterator[Mapping[str, Any]]:
    view.enable_lora()
    view.set_adapters([name_of(one) for one in sets], [use.scale for use in uses])
    try:
        yield {}
    finally:
        view.disable_lora()


def put_ip_adapter(parts: Mapping[str, Any], sets: Sets, uses: Uses) -> None:
    (one,) = sets
    grouped: dict[str, dict[str, Any]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in one.components["weights"].items():
        group, _, rest = name.partition(".")
        grouped[group][rest] = tensor
    stock({**parts, **vision(one)}).load_ip_adapter(grouped, subfolder="", weight_name="", image_encoder_folder=None)


def vision(one: ComponentSet) -> dict[str, Any]:
    return {name: one.components[name] for name in ("image_encoder", "feature_extractor")}


@contextmanager
def show_pictures(view: Any, sets: Sets, uses: Uses) -> Iterator[Mapping[str, Any]]:
    view.set_ip_adapter_scale(uses[0].scale)
    yield {"ip_adapter_image": [[image for use in uses for image in use.images]]}


@contextmanager
def show_map(view: Any, sets: Sets, uses: Uses) -> Iterator[Mapping[str, Any]]:
    argument = "image" if type(view).__name__ == CONTROLNETS[Task.TEXT_TO_IMAGE] else "control_image"
    maps = [use.images[0] for use in uses]
    scales = [use.scale for use in uses]
    if len(uses) == 1:
        yield {argument: maps[0], "controlnet_conditioning_scale": scales[0]}
    else:
        yield {argument: maps, "controlnet_conditioning_scale": scales}


def networks(sets: Sets, uses: Uses) -> dict[str, Any]:
    found = [one.components["controlnet"] for one in sets]
    return {"controlnet": found[0] if len(found) == 1 else found}


def as_it_is(use: ControlUse, request: GenerationRequest) -> ControlUse:
    return use


LORA = Control("lora", LORAS, (), as_it_is, put_loras, weigh_loras)
IP = Control("ip", (IP_ADAPTER,), (), as_it_is, put_ip_adapter, show_pictures, lambda sets, uses: vision(sets[0]))
EDGES = Control("edges", CONTROLNETS_SPECS, (), as_it_is, None, show_map, networks)
POSE = Control("pose", CONTROLNETS_SPECS, (), as_it_is, None, show_map, networks)


def with_controlnets(families: Sequence[Family]) -> tuple[Family, ...]:
    return tuple(replace(one, controlnet_classes=CONTROLNETS if one.id == "sd15" else {}) for one in families)


def steered_registry(
    families: Sequence[Family],
    load: Callable[..., ComponentSet],
    *controls: Control,
    limit_bytes: int = 200_000_000,
    **options: Any,
) -> Registry:
    """A registry of the tiny models that knows these controls beside the ones above."""
    known = {control.id: control for control in (LORA, IP, EDGES, POSE, *controls)}
    return Registry(with_controlnets(families), load, limit_bytes, controls=known, **options)
