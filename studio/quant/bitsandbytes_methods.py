"""bitsandbytes: linear layers in 4-bit normal floats (QLoRA, 2305.14314) or LLM.int8() (2208.07339), on CUDA."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from studio.engine.clone import clone_shared
from studio.quant.method import QuantMethod, Recipe, refuse

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "bitsandbytes"
NF4, INT8 = "bitsandbytes_nf4", "bitsandbytes_int8"


def quantized(net: nn.Module, recipe: Recipe, name: str) -> nn.Module:
    """Every linear layer replaced; its weight is packed on the way to the card. Raises InvalidInput where none is."""
    from torch import nn

    copy = clone_shared(net)
    linears = [(path, part) for path, part in copy.named_modules() if type(part) is nn.Linear]
    if not linears:
        raise refuse(name, "no_linear")
    for path, part in linears:
        parent, _, own = path.rpartition(".")
        setattr(copy.get_submodule(parent), own, _packed(part, name))
    return copy


def _packed(linear: nn.Linear, name: str) -> Any:
    """A linear layer of bitsandbytes with this one's weights, on its device."""
    import bitsandbytes as bnb

    sides, weight = (linear.in_features, linear.out_features, linear.bias is not None), linear.weight.data
    layer: Any
    if name == NF4:
        layer = bnb.nn.Linear4bit(*sides, compute_dtype=weight.dtype, quant_type="nf4")
        layer.weight = bnb.nn.Params4bit(weight.cpu(), requires_grad=False, quant_type="nf4")
    else:
        layer = bnb.nn.Linear8bitLt(*sides, has_fp16_weights=False)
        layer.weight = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    layer.bias = linear.bias
    return layer.to(weight.device)


METHODS = (
    QuantMethod(NF4, False, (4,), (32,), partial(quantized, name=NF4), requires=(PACKAGE,), needs_cuda=True),
    QuantMethod(INT8, False, (8,), (8,), partial(quantized, name=INT8), requires=(PACKAGE,), needs_cuda=True),
)
