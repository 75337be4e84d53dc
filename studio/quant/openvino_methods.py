"""OpenVINO on a CPU: float32, bfloat16, and int8 for weights and activations of convolutions and linear layers.

The int8 network is calibrated by NNCF on the network's own sampling trajectories: the ranges of activations are what
they are while it draws, not what random inputs would make of them. They are taken whole, from the smallest to the
largest value of all calls (the mean over calls, NNCF's own choice, cuts off what is rare and large: the worst of twelve
pictures was 28 dB from full precision's, and is 35 so); the first and the last convolution stay in full precision, as
in the simulated methods.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from studio.errors import ModelUnavailable
from studio.quant.coverage import Coverage, coverage_of_graph
from studio.quant.method import Call, QuantMethod, Recipe, refuse
from studio.types import Precision

if TYPE_CHECKING:
    from torch import nn

F32, BF16, INT8 = "openvino_f32", "openvino_bf16", "openvino_int8"
MOST_CALLS = 128
"""So many of the recorded calls are calibrated on, evenly over all of them."""


def converted(net: nn.Module, recipe: Recipe, name: str) -> nn.Module:
    """The network, computed by OpenVINO in float32 or bfloat16. Raises InvalidInput for a network of another kind."""
    model, kind, config = _opened(net, name)
    half = name == BF16
    return kind(model, Precision.FAST if half else Precision.EXACT, Coverage(float(half), float(half)), config)


def calibrated(net: nn.Module, recipe: Recipe) -> nn.Module:
    """The network with weights and activations in int8. Raises InvalidInput for a network of another kind, or without
    calls to calibrate on."""
    model, kind, config = _opened(net, INT8)
    samples = chosen(recipe.calibration)
    if not samples:
        raise refuse(INT8, "no_calls")
    inputs = [_inputs(call, config) for call in samples]
    quantized = _quantize(model, inputs)
    fixed = quantized.clone()
    fixed.reshape({index: list(one.shape) for index, one in enumerate(inputs[0])})
    return kind(quantized, Precision.EXACT, coverage_of_graph(fixed), config)


def chosen(calls: Sequence[Call]) -> list[Call]:
    """At most MOST_CALLS of them, evenly."""
    every = max(1, -(-len(calls) // MOST_CALLS))
    return [calls[index] for index in range(0, len(calls), every)]


def _opened(net: nn.Module, name: str) -> tuple[Any, Any, Any]:
    from studio.quant.openvino_network import open_model

    if next(net.parameters()).device.type != "cpu":
        raise ModelUnavailable("openvino_only_cpu", device=next(net.parameters()).device.type)
    try:
        return open_model(net)
    except TypeError as error:
        raise refuse(name, "other_network") from error


def _quantize(model: Any, inputs: list[list[Any]]) -> Any:
    """NNCF's quantization after training; what it prints on the way is kept from the console."""
    import logging

    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    logging.getLogger("nncf").setLevel(logging.ERROR)  # set_log_level would mute all handlers that it finds
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            model,
            nncf.Dataset(inputs, lambda one: one),
            subset_size=len(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=ends(model)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )


def ends(model: Any) -> list[str]:
    """The names of the first and the last convolution, in the order in which they are reached."""
    found = [one.get_friendly_name() for one in model.get_ordered_ops() if one.get_type_name() == "Convolution"]
    return list(dict.fromkeys([*found[:1], *found[-1:]]))


def _inputs(call: Call, config: Any) -> list[Any]:
    """A call's tensors in the order in which the model takes them. config: of the network that stands in its place."""
    import torch

    from studio.quant.openvino_network import PixelConfig

    args, kwargs = call
    first, time, *rest = (*args, *(kwargs[name] for name in ("encoder_hidden_states", "labels") if name in kwargs))
    if isinstance(config, PixelConfig):
        return [one.numpy() for one in config.inputs(first, time, *rest)]
    return [first.numpy(), torch.as_tensor(time).float().reshape(()).numpy(), rest[0].numpy()]


METHODS = (
    QuantMethod(F32, False, (32,), (32,), partial(converted, name=F32), requires=("openvino",)),
    QuantMethod(BF16, False, (16,), (16,), partial(converted, name=BF16), requires=("openvino",)),
    QuantMethod(INT8, False, (8,), (8,), calibrated, requires=("openvino", "nncf")),
)
