"""What the names in a LoRA's file mean: the two layouts of the field, and which weight of a model each pair changes.

diffusers (with peft's names, or older ones):  unet.mid_block.attentions.0.proj_in.lora_A.weight
kohya:                                         lora_unet_mid_block_attentions_0_proj_in.lora_down.weight, .alpha

Free of torch. Sources: diffusers' state_dict_utils.py and lora_conversion_utils.py, kohya-ss/sd-scripts' lora.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]
Modules = Mapping[str, Mapping[str, Shape]]
"""Of each part of a model ("unet", "text_encoder") the shape of every weight that a LoRA may change, by module."""

DOWN, UP, ALPHA = "down", "up", "alpha"
DIFFUSERS, KOHYA = "diffusers", "kohya"
KOHYA_PARTS = {"lora_unet": "unet", "lora_te": "text_encoder", "lora_te1": "text_encoder", "lora_te2": "text_encoder_2"}
DIFFUSERS_PARTS = ("unet", "text_encoder", "text_encoder_2")
TEXT_PREFIX = "text_model."
"""In every file of the field, though a text encoder of the present transformers no longer has it."""
NO_TARGETS = ("token_embedding", "position_embedding")
INFERENCE_SAMPLER, INFERENCE_STEPS, INFERENCE_GUIDANCE = "inference_sampler", "inference_steps", "inference_guidance"
"""Under these names a file's header says how it is meant to be drawn with, where it needs settings of its own."""
ADAPTER_METADATA = "lora_adapter_metadata"

ROLES = {"lora_A": DOWN, "lora_B": UP, "lora_down": DOWN, "lora_up": UP, "down": DOWN, "up": UP, "alpha": ALPHA}
KOHYA_NAME = re.compile(r"(lora_unet|lora_te[12]?)_(.+)\.(?:(lora_down|lora_up)\.weight|(alpha))")
DIFFUSERS_NAME = re.compile(
    r"(unet|text_encoder|text_encoder_2)\.(.+)\."
    r"(?:(lora_A|lora_B)(?:\.default)?\.weight|(?:lora|lora_linear_layer)\.(down|up)\.weight|(alpha))"
)
PROCESSOR_NAME = re.compile(r"unet\.(.+)\.processor\.to_(q|k|v|out)_lora\.(down|up)\.weight")


@dataclass(frozen=True)
class Key:
    """One tensor's name taken apart. module: dots of kohya's names are underscores; role: "down", "up", "alpha"."""

    layout: str
    part: str
    module: str
    role: str


@dataclass(frozen=True)
class Pair:
    """The names of the tensors that change one weight. alpha: "" where the file holds none for it."""

    part: str
    module: str
    down: str
    up: str
    alpha: str = ""


@dataclass(frozen=True)
class Named:
    """Tensors of one module by their roles, before it is known which module that is."""

    key: Key
    roles: dict[str, str] = field(default_factory=dict)


def read_key(name: str) -> Key | None:
    """A tensor's name taken apart, or None for one of neither layout."""
    if match := KOHYA_NAME.fullmatch(name):
        return Key(KOHYA, KOHYA_PARTS[match[1]], match[2], ROLES[match[3] or match[4]])
    if match := PROCESSOR_NAME.fullmatch(name):
        return Key(DIFFUSERS, "unet", f"{match[1]}.to_{'out.0' if match[2] == 'out' else match[2]}", ROLES[match[3]])
    if match := DIFFUSERS_NAME.fullmatch(name):
        return Key(DIFFUSERS, match[1], match[2], ROLES[match[3] or match[4] or match[5]])
    return None


def grouped(names: Iterable[str]) -> dict[tuple[str, str], Named]:
    """The tensors of each module, by part and module as the file writes them; names of neither layout are left out."""
    found: dict[tuple[str, str], Named] = {}
    for name in names:
        if (key := read_key(name)) is not None:
            found.setdefault((key.part, key.module), Named(key)).roles[key.role] = name
    return found


def written(part: str, module: str) -> str:
    """A module's name as files hold it."""
    is_text = part.startswith("text_encoder") and not module.startswith(TEXT_PREFIX)
    return TEXT_PREFIX + module if is_text else module


class ModuleNames:
    """The modules of a model, found by the names of either layout."""

    def __init__(self, modules: Modules) -> None:
        self._by_name = {
            (layout, part, _spelled(layout, part, module)): module
            for layout in (DIFFUSERS, KOHYA)
            for part, inside in modules.items()
            for module in inside
        }

    def find(self, key: Key) -> str | None:
        """The module that a key names, or None."""
        return self._by_name.get((key.layout, key.part, _spelled(key.layout, key.part, key.module)))


def _spelled(layout: str, part: str, module: str) -> str:
    """A module's name as a layout writes it; one that is written so already stays."""
    if layout == DIFFUSERS:
        return written(part, module)
    return module if "." not in module else written(part, module).replace(".", "_")


def pairs_of(names: Iterable[str], modules: Modules) -> list[Pair]:
    """Every pair of a file that has passed the gate, sorted by part and module. Raises KeyError for any other file."""
    known = ModuleNames(modules)
    found = []
    for named in grouped(names).values():
        module = known.find(named.key)
        if module is None:
            raise KeyError(named.key.module)
        found.append(Pair(named.key.part, module, named.roles[DOWN], named.roles[UP], named.roles.get(ALPHA, "")))
    return sorted(found, key=lambda pair: (pair.part, pair.module))


def fits(down: Shape, up: Shape, weight: Shape) -> bool:
    """Whether A (r, in, ...) and B (out, r, 1, 1) change a weight (out, in, ...) of this shape.

    A convolution of one pixel is the same as a linear layer, and files mix the two.
    """
    return (
        len(down) >= 2
        and len(up) >= 2
        and down[0] == up[1]
        and (_bare((down[0], *weight[1:])) == _bare(down) and _bare((weight[0], up[1])) == _bare(up))
    )


def _bare(shape: Shape) -> Shape:
    """A shape without the ones of a convolution of one pixel."""
    return shape[:2] if all(side == 1 for side in shape[2:]) else shape


def scaling(pair: Pair, rank: int, alpha: float | None, metadata: Mapping[str, str]) -> float:
    """alpha / r of a pair. alpha: the file's own tensor, or None; without one the header's, else r itself.

    Hu et al. (2106.09685), section 4.1; rank-stabilised where peft's header says so: alpha / sqrt(r) (2312.03732).
    """
    config = adapter_config(metadata)
    if alpha is None:
        pattern = config.get(f"{pair.part}.alpha_pattern")
        own = pattern.get(pair.module) if isinstance(pattern, dict) else None
        alpha = float(config.get(f"{pair.part}.lora_alpha", rank) if own is None else own)
    stabilised = config.get(f"{pair.part}.use_rslora") is True
    return alpha / (rank**0.5 if stabilised else rank)


def adapter_config(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What peft left in the header about ranks and alphas; {} if nothing that can be read."""
    try:
        config = json.loads(metadata.get(ADAPTER_METADATA, "{}"))
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def block_of(part: str, module: str) -> str:
    """The block that a module belongs to: down_blocks.0, mid_block, up_blocks.2, or layers.3 of a text encoder."""
    if match := re.match(r"(?:down_blocks|up_blocks)\.\d+|mid_block", module):
        return match[0]
    if match := re.search(r"layers\.\d+", module):
        return f"{part}.{match[0]}"
    return f"{part}.other"
