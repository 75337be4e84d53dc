"""Several low-rank patches on a model, merged into copies of the weights that they change.

W' = W + sum_i s_i B_i A_i: a step then costs what it costs without them, and other s_i are one sum away. W itself,
which others may share, is read and never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studio.diffusion.lora import factored
from studio.diffusion.lora_keys import Modules, block_of

BASE, DOWNS, UPS = "base_weight", "lora_downs", "lora_ups"
"""What a patched module holds beside its weight: W, all A_i under each other, all alpha_i / r_i B_i side by side."""


@dataclass(frozen=True)
class Strength:
    """How strongly one patch acts. blocks: a further factor by block; rank: only its largest directions, 0: all."""

    scale: float = 1.0
    blocks: tuple[tuple[str, float], ...] = ()
    rank: int = 0

    def within(self, block: str) -> float:
        return self.scale * dict(self.blocks).get(block, 1.0)


@dataclass(frozen=True, eq=False)
class Factors:
    """One patch of one module, its scaling inside `up`. down: (r, in, ...); up: (out, r, ...)"""

    down: Tensor
    up: Tensor


@dataclass(frozen=True, eq=False)
class MergedLayer:
    """A module whose weight is its own copy. rows: of each patch, where it lies among all."""

    module: nn.Module
    block: str
    rows: Mapping[str, slice]

    @torch.no_grad()
    def merge(self, strengths: Mapping[str, Strength]) -> None:
        """W' = W + sum s_i B_i A_i into the copy. Where every s_i is 0, that is W to the bit."""
        base, weight = self.module.get_parameter(BASE), self.module.get_parameter("weight")
        acting = {name: strengths[name].within(self.block) for name in self.rows if name in strengths}
        ups, downs = [], []
        for name, scale in acting.items():
            if scale:
                down, up = self._factors(name, strengths[name].rank)
                ups.append(up * scale)
                downs.append(down)
        if ups:
            merged = torch.addmm(base.flatten(1), torch.cat(ups, 1), torch.cat(downs))
            weight.copy_(merged.view(base.shape))
        else:
            weight.copy_(base)

    def _factors(self, name: str, rank: int) -> tuple[Tensor, Tensor]:
        """A (r, in k k) and B (out, r) of a patch, cut to a rank where one is wanted."""
        rows = self.rows[name]
        down, up = self.module.get_buffer(DOWNS)[rows], self.module.get_buffer(UPS)[:, rows]
        if not 0 < rank < len(down):
            return down, up
        cut = factored(down.float(), up.float(), rank)
        return cut.down.to(down), cut.up.to(up)


class MergedPart:
    """One part of a model with all its patched layers, and how strongly they are merged at present."""

    def __init__(self, layers: Sequence[MergedLayer]) -> None:
        self.layers = tuple(layers)
        self._merged: Mapping[str, Strength] | None = None

    def merge(self, strengths: Mapping[str, Strength]) -> None:
        """Let the patches act this strongly, by name; one that is not named acts not at all. At once where they do."""
        if self._merged == strengths:
            return
        self._merged = None  # until all of it is done
        for layer in self.layers:
            layer.merge(strengths)
        self._merged = dict(strengths)


def modules_of(parts: Mapping[str, nn.Module]) -> Modules:
    """The weights of a model that patches may change: of linear layers and convolutions."""
    return {
        part: {name: tuple(one.weight.shape) for name, one in network.named_modules() if _patchable(one)}
        for part, network in parts.items()
    }


def _patchable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d)


def put_on(network: nn.Module, part: str, patches: Mapping[str, Mapping[str, Factors]]) -> MergedPart:
    """Give every module that a patch changes a weight of its own, and keep the factors beside it.

    patches: by the patch's name, its factors by module. Takes as many bytes as the changed weights, and the factors.
    """
    modules = dict(network.named_modules())
    layers = []
    for name in sorted({name for patch in patches.values() for name in patch}):
        own = {patch: inside[name] for patch, inside in patches.items() if name in inside}
        rows, first = {}, 0
        for patch, factors in own.items():
            rows[patch] = slice(first, first + len(factors.down))
            first += len(factors.down)
        module, base = modules[name], modules[name].get_parameter("weight")
        module.register_parameter(BASE, nn.Parameter(base.detach(), requires_grad=False))
        module.register_parameter("weight", nn.Parameter(base.detach().clone(), requires_grad=False))
        downs = torch.cat([factors.down.flatten(1) for factors in own.values()])
        ups = torch.cat([factors.up.flatten(1) for factors in own.values()], 1)
        module.register_buffer(DOWNS, downs.to(base), persistent=False)
        module.register_buffer(UPS, ups.to(base), persistent=False)
        layers.append(MergedLayer(module, block_of(part, name), rows))
    return MergedPart(layers)
