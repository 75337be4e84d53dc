"""optimum-quanto: weights of linear layers and convolutions in 8 bits, scaled back when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.engine.clone import clone_shared
from studio.quant.method import QuantMethod, Recipe

if TYPE_CHECKING:
    from torch import nn


def quantized(net: nn.Module, recipe: Recipe) -> nn.Module:
    """Every convolution and linear layer replaced by quanto's, its weight frozen in int8."""
    from optimum.quanto import freeze, qint8, quantize

    copy = clone_shared(net)
    quantize(copy, weights=qint8)
    freeze(copy)
    return copy


QUANTO_INT8 = QuantMethod("quanto_int8", False, (8,), (32,), quantized, requires=("optimum.quanto",))
