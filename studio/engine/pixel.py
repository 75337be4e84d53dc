"""The small networks that work on pixels: a DDPM that walks noise back, and a classifier that can steer it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from studio.diffusion.classifier import NoisyClassifier
from studio.diffusion.guidance import guided
from studio.diffusion.parameterisations import Denoiser, clipped, denoiser
from studio.diffusion.schedules import SCHEDULES, Schedule
from studio.diffusion.unet import UNet, told
from studio.errors import ModelUnavailable

AVERAGE, RAW, CLASSIFIER, CONFIG = "ema.safetensors", "raw.safetensors", "classifier.safetensors", "config.json"


@dataclass(frozen=True, eq=False)
class PixelModel:
    """A network that guesses the noise in pictures of `side` pixels. classes: what it can be told, by label."""

    net: UNet
    schedule: Schedule
    classes: tuple[str, ...]
    side: int

    @classmethod
    def load(cls, folder: Path, weights: str = AVERAGE) -> PixelModel:
        """Read models/ddpm. weights: AVERAGE or RAW. Raises ModelUnavailable where they are not."""
        config = _config(folder, weights)
        net = UNet(**config["network"])
        net.load_state_dict(_full(folder / weights))
        schedule = SCHEDULES[config["schedule"]](config["T"])
        return cls(net.eval().requires_grad_(False), schedule, tuple(config["classes"]), config["side"])

    def denoiser(self, labels: Tensor | None = None, gamma: float = 1.0, clip: bool = True) -> Denoiser:
        """Its guess of the clean pictures, with classifier-free guidance. labels: (B,), or None for no label."""
        plain = denoiser(told(self.net), "eps", self.schedule)
        guess = (
            plain if labels is None else guided(plain, denoiser(told(self.net, labels), "eps", self.schedule), gamma)
        )
        return clipped(guess) if clip else guess

    def noise(self, count: int, seed: int) -> Tensor:
        """What a walk begins with; picture i of any count has the noise of i. (count, 3, side, side)"""
        shape = (3, self.side, self.side)
        return torch.stack(
            [torch.randn(shape, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]
        )


def load_classifier(folder: Path) -> NoisyClassifier:
    """Read models/noisy-classifier. Raises ModelUnavailable where it is not."""
    config = _config(folder, CLASSIFIER)
    net = NoisyClassifier(**config["network"])
    net.load_state_dict(_full(folder / CLASSIFIER))
    return net.eval().requires_grad_(False)


def _config(folder: Path, weights: str) -> dict[str, Any]:
    """What a folder's network is built from, if all of it is there."""
    for name in (CONFIG, weights):
        if not (folder / name).is_file():
            raise ModelUnavailable("model_missing", model=folder.name, missing=name)
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config


def _full(path: Path) -> dict[str, Tensor]:
    """The weights of a file in full precision."""
    return {name: value.float() for name, value in load_file(path).items()}
