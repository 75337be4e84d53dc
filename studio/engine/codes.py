"""The small autoencoders with codes of two numbers: maps of what their codes mean, and variants of one picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from studio.diffusion.vae import Autoencoder, reparameterise
from studio.errors import InvalidInput, ModelUnavailable

WEIGHTS, CONFIG = "autoencoders.safetensors", "config.json"
REACH, MAP_CELLS, VARIANTS = 3.0, 11, 8
"""The map shows codes from -REACH to REACH: nearly all of N(0, 1)."""


@dataclass(frozen=True, eq=False)
class Lab:
    """The autoencoders by name. kl_weights: of each; None for the plain one."""

    models: Mapping[str, Autoencoder]
    kl_weights: Mapping[str, float | None]
    side: int

    @classmethod
    def load(cls, folder: Path) -> Lab:
        """Read models/vae-lab. Raises ModelUnavailable where it is not."""
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise ModelUnavailable("model_missing", model=folder.name, missing=name)
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = config["kl_weights"]
        models = {
            name: Autoencoder(**config["network"], variational=weight is not None) for name, weight in weights.items()
        }
        together = nn.ModuleDict(models)
        together.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
        together.eval().requires_grad_(False)
        return cls(models, weights, config["network"]["side"])

    def model(self, name: object) -> Autoencoder:
        """One of them. Raises InvalidInput for a name that there is not."""
        if name not in self.models:
            choices = ", ".join(self.models)
            raise InvalidInput("not_a_choice", field="autoencoder", value=str(name)[:40], choices=choices)
        return self.models[str(name)]

    @torch.inference_mode()
    def map(self, name: object) -> Tensor:
        """What a grid of codes means, one picture beside the other, the second number growing upwards.

        (3, MAP_CELLS * side, MAP_CELLS * side) in [-1, 1]
        """
        line = torch.linspace(-REACH, REACH, MAP_CELLS)
        codes = torch.stack(torch.meshgrid(line, line.flip(0), indexing="xy"), -1).reshape(-1, 2)
        pictures = self.model(name).decode(codes)  # (cells^2, 3, side, side)
        rows = pictures.reshape(MAP_CELLS, MAP_CELLS, *pictures.shape[1:])
        return rows.permute(2, 0, 3, 1, 4).reshape(3, MAP_CELLS * self.side, MAP_CELLS * self.side)

    @torch.inference_mode()
    def decoded(self, name: object, code: tuple[float, float]) -> Tensor:
        """What one code means. (1, 3, side, side)"""
        return self.model(name).decode(torch.tensor([code]))

    @torch.inference_mode()
    def places(self, name: object, x: Tensor) -> Tensor:
        """Where pictures lie on the map, by their means. (N, 3, side, side) -> (N, 2)"""
        return self.model(name).encode(x)[0]

    @torch.inference_mode()
    def variants(self, name: object, x: Tensor, scale: float, seed: int) -> Tensor:
        """Decoded from mu + scale sigma eps; scale 0 is the reconstruction, a plain autoencoder has nothing else.

        x: (1, 3, side, side); returns (VARIANTS, 3, side, side).
        """
        model = self.model(name)
        mean, logvar = model.encode(x)
        eps = torch.randn(VARIANTS, mean.shape[1], generator=torch.Generator().manual_seed(seed))
        scale = scale if model.variational else 0.0
        return model.decode(reparameterise(mean, logvar, eps, scale).expand(VARIANTS, -1))


def code_at(x: float, y: float) -> tuple[float, float]:
    """The code under a place of the map, as shares of its sides from the upper left corner."""
    cell = 2 * REACH / (MAP_CELLS - 1)
    edge = REACH + cell / 2
    return (2 * x - 1) * edge, (1 - 2 * y) * edge
