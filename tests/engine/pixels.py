"""A DDPM on pixels with random weights, in a folder like models/ddpm."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from studio.diffusion.unet import UNet
from studio.engine.pixel import AVERAGE, CONFIG, RAW

CLASSES = ("umbrella", "car", "ball")


def make_ddpm(folder: Path) -> Path:
    """A thousandth of the real one's weights, of the same shape."""
    torch.manual_seed(0)
    network = {"dim": 8, "dim_mults": [1, 2], "classes": len(CLASSES), "patch": 2}
    net = UNet(**network)
    folder.mkdir(parents=True)
    config = {"network": network, "classes": CLASSES, "schedule": "cosine", "T": 1_000, "side": 32}
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    for name in (AVERAGE, RAW):
        save_file(net.state_dict(), folder / name)
    return folder
