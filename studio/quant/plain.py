"""No fewer bits, and half as many: what every other method is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from studio.engine.clone import clone_shared
from studio.quant.method import QuantMethod, Recipe

if TYPE_CHECKING:
    from torch import nn


def whole(net: nn.Module, recipe: Recipe) -> nn.Module:
    """The network as it was trained, computed by PyTorch."""
    return clone_shared(net)


def halved(net: nn.Module, recipe: Recipe) -> nn.Module:
    """All weights in bfloat16, and every layer given what it reads in bfloat16; the answer in float32."""
    import torch

    half = clone_shared(net)
    for parameter in half.parameters():  # not the buffers: frequencies of the time's code would be others
        parameter.data = parameter.data.to(torch.bfloat16)
    for part in half.modules():
        if next(part.parameters(recurse=False), None) is not None:
            part.register_forward_pre_hook(_in_half, with_kwargs=True)
    half.register_forward_hook(_in_full)
    return half


def _in_half(_: nn.Module, values: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    import torch

    def cast(value: Any) -> Any:
        floats = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(torch.bfloat16) if floats else value

    return tuple(map(cast, values)), {name: cast(value) for name, value in named.items()}


def _in_full(_: nn.Module, values: Any, answer: Any) -> Any:
    """A tensor, diffusers' tuple of one, or its output with a `sample`."""
    if isinstance(answer, tuple):
        return tuple(one.float() for one in answer)
    if hasattr(answer, "sample"):
        answer.sample = answer.sample.float()
        return answer
    return answer.float()


FP32 = QuantMethod("fp32", False, (32,), (32,), whole)
BF16 = QuantMethod("bf16", False, (16,), (16,), halved)
