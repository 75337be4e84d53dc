"""How PyTorch shall run a model on a graphics card. Chosen when it is loaded; it changes no result but by rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONVOLUTIONAL = ("unet", "vae", "controlnet")


@dataclass(frozen=True)
class Tuning:
    """channels_last: store the convolutions' weights as tensor cores read them; compiled: compile the UNet's repeated
    blocks, which takes a minute at the first picture and then saves time in each."""

    channels_last: bool = False
    compiled: bool = False


def tune(components: Mapping[str, Any], tuning: Tuning) -> None:
    """Prepare freshly loaded components, before anybody shares them. A clone of a compiled module is not compiled."""
    import torch

    parts = [components[name] for name in CONVOLUTIONAL if isinstance(components.get(name), torch.nn.Module)]
    for part in parts:
        if tuning.channels_last:
            part.to(memory_format=torch.channels_last)
        if tuning.compiled and hasattr(part, "compile_repeated_blocks") and getattr(part, "_repeated_blocks", None):
            part.compile_repeated_blocks(dynamic=True)
