"""Twice the side, by the studio's own super-resolver: a small network that is loaded when it is first asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.engine.infotext import FOREIGN, OWN, UPSCALED
from studio.engine.parameters import compose, parse
from studio.errors import InvalidInput, ModelUnavailable
from studio.events import Context
from studio.types import MAX_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = "super_resolver.safetensors"
NAME = "Diffusion Studio super-resolver"
FACTOR = 2
OVERLAP, TILE = 16, 256
"""In pixels of the small picture: its pieces, and how far each reaches beyond its own. The network sees 8 pixels."""


class Upscaler:
    """The super-resolver of a folder. Any thread may use it."""

    def __init__(self, folder: Path) -> None:
        self._weights = folder / WEIGHTS
        self._lock = threading.Lock()
        self._network: Any = None

    @property
    def available(self) -> bool:
        """Whether its weights are there."""
        return self._weights.is_file()

    def __call__(self, picture: Image, device: str = "cpu") -> Image:
        """The picture, RGB, at twice its sides. Raises ModelUnavailable that says what is missing."""
        import numpy as np
        import torch
        from PIL import Image

        if max(picture.size) > MAX_SIDE:
            raise InvalidInput("upscale_too_large", field="image", maximum=MAX_SIDE, value=max(picture.size))
        network = self._loaded(device)
        pixels = np.array(picture.convert("RGB"))
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device).float() / 127.5 - 1  # (1, 3, H, W)
        with torch.inference_mode():
            y = _in_tiles(network, x)  # (1, 3, 2H, 2W)
        levels = ((y[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
        return Image.fromarray(levels.cpu().numpy())

    def _loaded(self, device: str) -> Any:
        """The network, read from its file once."""
        with self._lock:
            if self._network is None:
                self._network = _read(self._weights, device)
            return self._network


@dataclass(frozen=True)
class Upscaling:
    """The work of upscaling one picture; `Done` carries the larger one."""

    picture: Image
    upscaler: Upscaler

    def run(self, context: Context) -> Image:
        context.check_cancelled()
        with context.registry.lane:
            return self.upscaler(self.picture, context.registry.device)


def labelled_larger(picture: Image, texts: Mapping[str, Any]) -> Image:
    """A copy of an upscaled picture with the texts of the small one in `info`, which then say that it was upscaled."""
    labelled = picture.copy()
    if isinstance(foreign := texts.get(FOREIGN), str):
        known = parse(foreign)
        settings = {**known.settings, "Postprocess upscale by": FACTOR, "Postprocess upscaler": NAME}
        labelled.info[FOREIGN] = compose(known.prompt, known.negative_prompt, settings)
    if isinstance(own := texts.get(OWN), str):
        labelled.info[OWN] = json.dumps({**json.loads(own), UPSCALED: FACTOR})
    return labelled


def _read(weights: Path, device: str) -> Any:
    """The network of a file. Raises ModelUnavailable for one that is missing or another network's."""
    if not weights.is_file():
        raise ModelUnavailable("no_upscaler")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from studio.diffusion.super_resolution import SuperResolver

    network = SuperResolver()
    try:
        network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    except (SafetensorError, RuntimeError) as error:
        raise ModelUnavailable("load_failed", model=WEIGHTS, reason=type(error).__name__) from error
    return network.to(device).eval().requires_grad_(False)


def _in_tiles(network: Any, x: Any) -> Any:
    """The network over a picture (1, 3, H, W), piece by piece, so that memory does not grow with it."""
    import torch

    height, width = x.shape[-2:]
    y = torch.empty((1, 3, FACTOR * height, FACTOR * width), dtype=x.dtype, device=x.device)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            above, before = min(top, OVERLAP), min(left, OVERLAP)
            piece = x[..., top - above : top + TILE + OVERLAP, left - before : left + TILE + OVERLAP]
            large = network(piece)[..., FACTOR * above :, FACTOR * before :]
            target = y[..., FACTOR * top : FACTOR * (top + TILE), FACTOR * left : FACTOR * (left + TILE)]
            target.copy_(large[..., : target.shape[-2], : target.shape[-1]])
    return y
