"""A trained LoRA as a file: the layout of diffusers with peft's names, or kohya's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from studio.diffusion.lora_keys import ADAPTER_METADATA, written

Weights = Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]
"""Of each part ("unet", "text_encoder"), for each module by name: the matrix that goes down to the rank, and the one
that comes up from it."""

KOHYA_PART = {"unet": "lora_unet", "text_encoder": "lora_te"}


def diffusers_tensors(weights: Weights) -> dict[str, Tensor]:
    """Keys such as unet.mid_block.attentions.0.proj_in.lora_A.weight."""
    found = {}
    for part, modules in weights.items():
        for name, (down, up) in modules.items():
            found[f"{part}.{written(part, name)}.lora_A.weight"] = down
            found[f"{part}.{written(part, name)}.lora_B.weight"] = up
    return found


def kohya_tensors(weights: Weights, alpha: float) -> dict[str, Tensor]:
    """Keys such as lora_unet_mid_block_attentions_0_proj_in.lora_down.weight, each module with its alpha."""
    found = {}
    for part, modules in weights.items():
        for name, (down, up) in modules.items():
            module = f"{KOHYA_PART[part]}_{written(part, name).replace('.', '_')}"
            found[f"{module}.lora_down.weight"] = down
            found[f"{module}.lora_up.weight"] = up
            found[f"{module}.alpha"] = torch.tensor(float(alpha))
    return found


def adapter_config(weights: Weights, rank: int, alpha: float) -> str:
    """What diffusers reads from a file's header to build the adapter as it was trained, as JSON."""
    told: dict[str, Any] = {}
    for part, modules in weights.items():
        values = {"r": rank, "lora_alpha": alpha, "target_modules": sorted(modules), "peft_type": "LORA"}
        told |= {f"{part}.{key}": value for key, value in values.items()}
    return json.dumps(told, sort_keys=True)


def save_lora(path: Path, weights: Weights, rank: int, alpha: float, file_format: str, told: Mapping[str, str]) -> None:
    """Write in half precision. told: about base, trigger and training, kept in the header as text."""
    tensors = kohya_tensors(weights, alpha) if file_format == "kohya" else diffusers_tensors(weights)
    header = {"format": "pt", "rank": str(rank), "alpha": f"{alpha:g}", **told}
    if file_format == "kohya":
        header |= {"ss_network_dim": str(rank), "ss_network_alpha": f"{alpha:g}", "ss_network_module": "networks.lora"}
    else:
        header[ADAPTER_METADATA] = adapter_config(weights, rank, alpha)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file({key: t.detach().to("cpu", torch.float16).contiguous() for key, t in tensors.items()}, temporary, header)
    temporary.replace(path)
