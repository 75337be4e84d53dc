"""torchao: weights of linear layers in 8 bits, real kernels. Convolutions stay in full precision, which on a UNet are
most of the work. On a CPU they save memory and cost time.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from studio.engine.clone import clone_shared
from studio.quant.method import QuantMethod, Recipe, refuse

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "torchao"
CONFIGS = {
    "torchao_int8_weight": "Int8WeightOnlyConfig",
    "torchao_int8_dynamic": "Int8DynamicActivationInt8WeightConfig",
    "torchao_float8_weight": "Float8WeightOnlyConfig",
}
# torchao 0.18 tells torch about its enums in a way that torch 2.15 warns of.
NOISY = ("torch.utils._pytree", "diffusers.quantizers.torchao.torchao_quantizer")


def quantized(net: nn.Module, recipe: Recipe, name: str) -> nn.Module:
    """Every linear layer's weight replaced by torchao's tensor. Raises InvalidInput where there is no linear layer."""
    from torch import nn

    for logger in NOISY:
        logging.getLogger(logger).setLevel(logging.ERROR)
    from torchao import quantization

    if not any(isinstance(part, nn.Linear) for part in net.modules()):
        raise refuse(name, "no_linear")
    copy = clone_shared(net)
    quantization.quantize_(copy, getattr(quantization, CONFIGS[name])())
    return copy


def _method(name: str, activation_bits: int) -> QuantMethod:
    return QuantMethod(name, False, (8,), (activation_bits,), partial(quantized, name=name), requires=(PACKAGE,))


METHODS = (
    _method("torchao_int8_weight", 32),
    _method("torchao_int8_dynamic", 8),
    _method("torchao_float8_weight", 32),
)
