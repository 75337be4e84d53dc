"""diffusers' layerwise casting: weights rest in float8, and each layer's are cast up while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.construction import imported
from studio.engine.clone import clone_shared
from studio.quant.method import QuantMethod, Recipe

if TYPE_CHECKING:
    from torch import nn

KEPT = ("norm", "pos_embed", "patch_embed")
"""Parts of names: normalisations stay in full precision, as diffusers advises."""


def cast(net: nn.Module, recipe: Recipe) -> nn.Module:
    """Weights of convolutions and linear layers in float8 (e4m3), computed in what they were."""
    import torch

    copy = clone_shared(net)
    compute = next(net.parameters()).dtype
    imported("diffusers.hooks", "apply_layerwise_casting")(
        copy, torch.float8_e4m3fn, compute, skip_modules_pattern=KEPT
    )
    return copy


LAYERWISE_FLOAT8 = QuantMethod("layerwise_float8", False, (8,), (32,), cast, requires=("diffusers",))
