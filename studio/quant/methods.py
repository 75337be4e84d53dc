"""Every method, in the order in which the page offers them. A new one is a file here, and a place in `METHODS`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from studio.quant import bitsandbytes_methods, layerwise, openvino_methods, plain, quanto, torchao_methods
from studio.quant.method import MAX_BITS, MIN_BITS, QuantMethod, Recipe

if TYPE_CHECKING:
    from torch import nn

REAL: tuple[QuantMethod, ...] = (
    plain.FP32,
    plain.BF16,
    *openvino_methods.METHODS,
    *torchao_methods.METHODS,
    layerwise.LAYERWISE_FLOAT8,
    quanto.QUANTO_INT8,
    *bitsandbytes_methods.METHODS,
)
SIMULATED_IDS = ("minmax", "mse", "ptq4dm", "q_diffusion", "per_interval", "input_dynamic", "tdq_ptq")
SIMULATED_BITS = (MAX_BITS, *range(MIN_BITS, MAX_BITS))


def simulated(net: nn.Module, recipe: Recipe, name: str) -> nn.Module:
    """What `simulated_methods`, which needs torch, has under this name."""
    from studio.quant.simulated_methods import SIMULATED

    return next(method for method in SIMULATED if method.id == name).apply(net, recipe)


METHODS: tuple[QuantMethod, ...] = (
    *REAL,
    *(QuantMethod(one, True, SIMULATED_BITS, SIMULATED_BITS, partial(simulated, name=one)) for one in SIMULATED_IDS),
)


def running(device: str) -> list[QuantMethod]:
    """The real methods that run on a device, each of them tried; without the one that changes nothing."""
    from studio.quant.probe import probe

    return [method for method in REAL if method is not plain.FP32 and probe(method, device) is None]
