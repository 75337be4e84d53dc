"""Models of one network, which steer others: a ControlNet's folder, a LoRA's file, an IP-Adapter's file with the image
encoder that it reads.

As for whole models only safetensors and text are read, whole and of the precision that is wanted, and only classes of
diffusers and transformers are built.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from studio.construction import CONSTRUCTION_LOCK, imported
from studio.engine.folders import INDEX, ModelFolder, check_whole, look_at_network, tensor_metadata
from studio.errors import ModelUnavailable
from studio.lineage import FACTS, require_built_on
from studio.types import ModelSpec, PipelineKey, Source

SINGLE_KINDS = ("controlnet", "lora", "ip_adapter")
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
IMAGE_ENCODER = "image_encoder"
CONTROLNET_CLASS = "ControlNetModel"
BASE_SHA256 = "base_sha256"
"""What a LoRA's header says of the UNet that it was trained on, where the studio trained it."""


def mark_of(spec: ModelSpec, source: Source) -> str:
    """The file of a source whose presence says that it is there.

    Raises ModelUnavailable for weights that are not in safetensors, and for a whole model in one file.
    """
    if spec.kind not in SINGLE_KINDS:
        if source.filename:
            raise ModelUnavailable("single_file_not_supported", model=spec.id, file=source.filename)
        return INDEX
    if source.filename and not source.filename.endswith(".safetensors"):
        raise ModelUnavailable("only_safetensors", model=spec.id, file=source.filename)
    return source.filename or CONFIG


def look_at_single(
    path: Path, spec: ModelSpec, filename: str, encoder: Path | None = None, prefer_half: bool = False
) -> ModelFolder:
    """What loading a model of one network reads, once it is sure that it is all there and whole.

    filename: of the weights in the folder `path`; "" for the one file in it, and for a ControlNet. encoder: the folder
    of an IP-Adapter's image encoder, image_encoder/ beside the weights where it is None. Raises ModelUnavailable that
    names what is missing, damaged or refused.
    """
    if spec.kind == "controlnet":
        variant, files = look_at_network(path, "diffusers", spec.id, prefer_half)
        found = json.loads((path / CONFIG).read_text(encoding="utf-8")).get("_class_name")
        if found != CONTROLNET_CLASS:
            raise ModelUnavailable("another_network", model=spec.id, found=str(found)[:40], wanted=CONTROLNET_CLASS)
        return ModelFolder(path, {"controlnet": "diffusers"}, variant, files, {"controlnet": path})
    weights = _weights_file(path, spec.id, filename)
    if spec.kind == "lora":
        return ModelFolder(path, {}, "", (weights,))
    encoder = encoder or path / IMAGE_ENCODER
    variant, files = look_at_network(encoder, "transformers", spec.id, prefer_half)
    facts = _facts(path / FACTS, spec.id)
    if "clip" in facts.get("builds_on", {}):
        require_built_on(spec.id, facts, "clip", encoder)
    return ModelFolder(path, {IMAGE_ENCODER: "transformers"}, variant, (weights, *files), {IMAGE_ENCODER: encoder})


def _weights_file(path: Path, model_id: str, filename: str) -> Path:
    """The one file of weights in a folder, or that of this name; it is whole."""
    found = [path / filename] if filename else sorted(path.glob("*.safetensors"))
    if len(found) != 1 or not found[0].is_file():
        raise ModelUnavailable("model_missing", model=model_id, missing=filename or f"{path.name}/*.safetensors")
    check_whole(found[0], found[0].name, model_id)
    return found[0]


def _facts(file: Path, model_id: str) -> dict[str, Any]:
    """What a training told of its artefact; {} if nothing."""
    if not file.is_file():
        return {}
    check_whole(file, file.name, model_id)
    facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return facts


def builds_on(folder: ModelFolder, spec: ModelSpec) -> dict[str, str]:
    """Part of the base -> the hash of its weights that this one was trained on, as far as it says so."""
    if spec.kind != "lora":
        return dict(_facts(folder.path / FACTS, spec.id).get("builds_on", {}))
    (weights,) = folder.files
    told = tensor_metadata(weights).get(BASE_SHA256)
    return dict(_facts(weights.with_suffix(".json"), spec.id).get("builds_on", {"unet": told} if told else {}))


def load_single(folder: ModelFolder, key: PipelineKey, spec: ModelSpec) -> dict[str, Any]:
    """The components of a folder that has been looked through, frozen, in the key's dtype and on its device.

    controlnet: {"controlnet": ControlNetModel}; lora: {"weights": name -> tensor, "metadata": of the file's header};
    ip_adapter: {"weights", "image_encoder": CLIPVisionModelWithProjection, "feature_extractor": CLIPImageProcessor}.
    """
    if spec.kind == "controlnet":
        return {"controlnet": _network("diffusers", CONTROLNET_CLASS, folder, "controlnet", key, spec.id)}
    weights = _tensors(folder.files[0], key)
    if spec.kind == "lora":
        return {"weights": weights, "metadata": tensor_metadata(folder.files[0])}
    encoder = _network("transformers", "CLIPVisionModelWithProjection", folder, IMAGE_ENCODER, key, spec.id)
    return {
        "weights": weights,
        IMAGE_ENCODER: encoder,
        "feature_extractor": _feature_extractor(folder.folder_of(IMAGE_ENCODER), encoder.config.image_size),
    }


def _network(library: str, name: str, folder: ModelFolder, part: str, key: PipelineKey, model_id: str) -> Any:
    """A network by its class. Raises ModelUnavailable if a weight of it is in no file: it would be made up."""
    import torch

    options: dict[str, Any] = {"dtype": getattr(torch, key.dtype), "use_safetensors": True, "local_files_only": True}
    if folder.variant:
        options["variant"] = folder.variant
    with CONSTRUCTION_LOCK:
        made = imported(library, name)
        module, told = made.from_pretrained(folder.folder_of(part), output_loading_info=True, **options)
        if told["missing_keys"]:
            raise ModelUnavailable("model_missing", model=model_id, missing=f"{part}: {min(told['missing_keys'])}")
        return module.to(key.device).eval().requires_grad_(False)


def _tensors(file: Path, key: PipelineKey) -> dict[str, Any]:
    """Name -> tensor of a file, in the key's dtype; numbers such as a LoRA's alpha stay as they are."""
    import torch
    from safetensors.torch import load_file

    dtype = getattr(torch, key.dtype)
    read = load_file(file, device=key.device)
    return {name: one.to(dtype) if one.is_floating_point() and one.ndim else one for name, one in read.items()}


def _feature_extractor(folder: Path, side: int) -> Any:
    """What prepares pictures for an image encoder: as its folder says, else as OpenAI's CLIP does. side: in pixels."""
    with CONSTRUCTION_LOCK:
        processor = imported("transformers", "CLIPImageProcessor")
        if (folder / PREPROCESSOR).is_file():
            return processor.from_pretrained(folder, local_files_only=True)
        return processor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
