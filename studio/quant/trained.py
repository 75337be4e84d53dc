"""Networks that were trained with quantization: read from models/tdq, not made. They round as if, like the simulated
methods, and stand in for the network that they began with, the DDPM on pixels, alone."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.quant.method import QuantMethod, Recipe, refuse

if TYPE_CHECKING:
    from torch import nn

RUNS, WEIGHTS = "runs.json", "quantized.safetensors"
BASE = "pixel-ddpm"
SHIPPED = {"lsq": "lsq_trained", "tdq": "tdq_trained"}


def trained_methods(folder: Path) -> tuple[QuantMethod, ...]:
    """A method for LSQ and one for TDQ, with the bits of the runs that lie in a folder; none where there are none."""
    path = folder / RUNS
    runs = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    found = []
    for name, method_id in SHIPPED.items():
        places = {_bits(run): folder / run["id"] for run in runs if run["shipped"] and run["entry"]["method"] == name}
        if places:
            weight, activation = (tuple(dict.fromkeys(column)) for column in zip(*places, strict=True))
            apply = partial(_read, method_id=method_id, places=places)
            found.append(QuantMethod(method_id, True, weight, activation, apply, pairs=tuple(places), only=BASE))
    return tuple(found)


def _bits(run: dict[str, Any]) -> tuple[int, int]:
    return run["entry"]["weight_bits"], run["entry"]["activation_bits"]


def _read(net: nn.Module, recipe: Recipe, method_id: str, places: dict[tuple[int, int], Path]) -> nn.Module:
    """What was trained at these bits. Raises InvalidInput for another network."""
    from safetensors.torch import load_file

    from studio.diffusion.exported import unpack
    from studio.quant.simulated import TIMES

    bits = recipe.weight_bits, recipe.activation_bits
    try:
        return unpack(net, load_file(places[bits] / WEIGHTS), *bits, TIMES)
    except (KeyError, RuntimeError, ValueError) as error:
        raise refuse(method_id, "not_its_base") from error
