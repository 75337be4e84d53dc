"""Every method, in the order in which the page offers them. A new one is a file here, and a place in `METHODS`."""

from __future__ import annotations

from studio.quant import bitsandbytes_methods, layerwise, openvino_methods, plain, quanto, torchao_methods
from studio.quant.method import QuantMethod
from studio.quant.simulated_methods import SIMULATED

REAL: tuple[QuantMethod, ...] = (
    plain.FP32,
    plain.BF16,
    *openvino_methods.METHODS,
    *torchao_methods.METHODS,
    layerwise.LAYERWISE_FLOAT8,
    quanto.QUANTO_INT8,
    *bitsandbytes_methods.METHODS,
)
METHODS: tuple[QuantMethod, ...] = (*REAL, *SIMULATED)
