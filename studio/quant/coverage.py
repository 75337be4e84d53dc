"""How much of a network a method really computes in fewer bits.

Weights: their share of the weights of all convolutions and linear layers. Arithmetic: the share of all
multiplications of one call whose factors both are in fewer bits; where weights alone are, and are scaled back before
they are used, that is none. Products of activations with each other, in attention, are counted as uncovered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from studio.quant.method import Call, QuantUse

FULL_BITS = 32


@dataclass(frozen=True)
class Coverage:
    """Shares from 0 to 1: of the weights, and of the multiplications."""

    weights: float
    arithmetic: float


def coverage(net: nn.Module, quantized: nn.Module, use: QuantUse, call: Call) -> Coverage:
    """What of `net` is in fewer bits in `quantized`. call: one of the network's own, to count with."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from studio.diffusion.observe import layers_of, watched
    from studio.quant.simulated import plan_of

    if isinstance(own := getattr(quantized, "coverage", None), Coverage):
        return own
    if (plan := plan_of(quantized)) is not None:
        return Coverage(plan.weight_share, plan.mac_share)
    layers, macs = layers_of(net), dict[str, int]()

    def count(name: str, x: torch.Tensor, y: torch.Tensor) -> None:
        macs[name] = macs.get(name, 0) + y.numel() * layers[name].weight[0].numel()

    args, kwargs = call
    with torch.no_grad(), watched(layers, count), FlopCounterMode(display=False) as counter:
        net(*args, **kwargs)
    covered = {name for name, layer in layers.items() if _is_other(layer, quantized.get_submodule(name))}
    weights = {name: layer.weight.numel() for name, layer in layers.items()}
    total = max(counter.get_total_flops() // 2, sum(macs.values()))
    done = sum(macs.get(name, 0) for name in covered) if use.activation_bits < FULL_BITS else 0
    return Coverage(sum(weights[name] for name in covered) / sum(weights.values()), done / total)


def _is_other(layer: nn.Module, quantized: nn.Module) -> bool:
    """Whether a layer's weight is held otherwise than it was: another layer, type or kind of tensor."""
    weight: Any = getattr(quantized, "weight", None)
    plain: Any = layer.weight
    if type(quantized) is not type(layer) or weight.dtype != plain.dtype:
        return True
    return type(weight.data) is not type(plain.data)


def coverage_of_graph(model: Any) -> Coverage:
    """Of an OpenVINO model of fixed shapes: the weights that are stored in 8 bits, and the products of two factors
    that both come through a quantizer."""
    held = total = done = every = 0
    for op in model.get_ordered_ops():
        if op.get_type_name() not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        weight, size = _weight(op.input_value(1).get_node()), op.get_output_shape(0)
        macs = _elements(size) * _inner(op)
        every += macs
        done += macs * (_is_rounded(op.input_value(0).get_node()) and _is_rounded(op.input_value(1).get_node()))
        if weight is not None:
            total += _elements(weight.get_output_shape(0))
            held += _elements(weight.get_output_shape(0)) * (weight.get_element_type().size == 1)
    return Coverage(held / max(total, 1), done / max(every, 1))


BETWEEN = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose", "FakeQuantize")


def _weight(node: Any) -> Any:
    """The constant behind a factor, through what scales it; None for an activation."""
    while node.get_type_name() in BETWEEN:
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None


def _is_rounded(node: Any) -> bool:
    """Whether a factor comes through a quantizer: a FakeQuantize, or a constant of 8 bits that is scaled."""
    while node.get_type_name() in ("Reshape", "Transpose", "Subtract", "Multiply", "Convert"):
        node = node.input_value(0).get_node()
    return node.get_type_name() == "FakeQuantize" or (
        node.get_type_name() == "Constant" and node.get_element_type().size == 1
    )


def _inner(op: Any) -> int:
    """How many products are summed for one number of the output."""
    if op.get_type_name() == "MatMul":
        shape = list(op.get_input_shape(0))
        return int(shape[-2] if op.get_attributes()["transpose_a"] else shape[-1])
    shape = list(op.get_input_shape(1))  # (out, in, kh, kw), or (groups, out, in, kh, kw)
    return _elements(shape[2:] if op.get_type_name() == "GroupConvolution" else shape[1:])


def _elements(shape: Any) -> int:
    count = 1
    for side in shape:
        count *= int(side)
    return count
