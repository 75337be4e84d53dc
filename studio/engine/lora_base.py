"""The base that a LoRA is held against: the shapes of its weights, read from its files' headers. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.diffusion.lora_keys import NO_TARGETS, TEXT_PREFIX, Modules, Shape
from studio.engine.folders import ModelFolder, read_header
from studio.types import ModelSpec

PARTS = ("unet", "text_encoder", "text_encoder_2")
WEIGHT = ".weight"


@dataclass(frozen=True)
class BaseWeights:
    """The weights of a base that a LoRA may change. modules: their shapes; files: where each module's weight lies, as
    file and the tensor's name in it."""

    spec: ModelSpec
    modules: Modules
    files: dict[tuple[str, str], tuple[Path, str]]

    def tensors(self) -> Iterator[tuple[str, str, Any]]:
        """Part, module and weight of everything, one after another. Needs torch."""
        from safetensors import safe_open

        by_file: dict[Path, list[tuple[str, str, str]]] = {}
        for (part, module), (file, name) in self.files.items():
            by_file.setdefault(file, []).append((part, module, name))
        for file, inside in by_file.items():
            with safe_open(file, framework="pt") as opened:
                for part, module, name in inside:
                    yield part, module, opened.get_tensor(name)


Look = Callable[[ModelSpec, str], tuple[Any, ModelFolder]]
"""`FolderLoader.look`: where a model lies, and what loading it would read."""


def base_weights(spec: ModelSpec, look: Look) -> BaseWeights:
    """What a base that is at hand consists of. Raises ModelUnavailable where it is not at hand."""
    _, folder = look(spec, spec.dtype)
    modules: dict[str, dict[str, Shape]] = {}
    files: dict[tuple[str, str], tuple[Path, str]] = {}
    for file in folder.files:
        part = file.parent.name
        if part not in PARTS or file.suffix != ".safetensors":
            continue
        for name, told in read_header(file)[1].items():
            if _is_target(name, told):
                module = name.removesuffix(WEIGHT).removeprefix(TEXT_PREFIX if part != "unet" else "")
                modules.setdefault(part, {})[module] = tuple(told["shape"])
                files[part, module] = file, name
    return BaseWeights(spec, modules, files)


def _is_target(name: str, told: Any) -> bool:
    """Whether a tensor is the weight of a linear layer or a convolution."""
    is_weight = name.endswith(WEIGHT) and len(told.get("shape", ())) in (2, 4)
    return is_weight and not name.removesuffix(WEIGHT).endswith(NO_TARGETS)
