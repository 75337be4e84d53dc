"""Quantizers that learn with the network, and a network that is made ready for it.

Each has a grid, a zero level z that stays where the search put it, and steps(T): the step at every time, which is all
that is left of it when the training is over. In training mode they round as their paper says, in eval mode all of them
do `fake_quantize`. Weights: on the symmetric grid, one step for a whole layer (So et al., 2306.02316).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from studio.diffusion.clock import Clock
from studio.diffusion.observe import Plan, layers_of
from studio.diffusion.quantize import (
    Grid,
    fake_quantize,
    lsq,
    lsq_gradient_scale,
    mse_search,
    nipq,
    pact,
    scaled_gradient,
    symmetric,
    unsigned,
)
from studio.diffusion.quantizers import QuantizedLayer, replace
from studio.diffusion.seen import Seen
from studio.diffusion.tdq import DEPTH, StepNetwork, table

Trained = Literal["lsq", "tdq", "pact", "nipq"]
SMALLEST_RATIO = 0.05


class LearnedStep(nn.Module):
    """LSQ (1902.08153): one step, learned as a multiple of where it began, so that one learning rate fits every layer.

    values: how many share the step, for the gradient's scale.
    """

    def __init__(self, s0: float, z: float, grid: Grid, values: int):
        super().__init__()
        self.ratio = nn.Parameter(torch.ones(()))
        self.s0, self.z, self.grid = s0, z, grid
        self.gradient_scale = lsq_gradient_scale(values, grid)

    @property
    def step(self) -> Tensor:
        return self.s0 * self.ratio.clamp(min=SMALLEST_RATIO)

    def steps(self, T: int) -> Tensor:
        return self.step.detach().expand(T).clone()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return fake_quantize(x, self.step.detach(), self.z, self.grid)
        return lsq(x, scaled_gradient(self.step, self.gradient_scale), self.z, self.grid)


class TimedStep(nn.Module):
    """TDQ (2306.02316) on LSQ: the step of each sample is a network's answer to its t."""

    def __init__(self, network: StepNetwork, z: float, grid: Grid, clock: Clock):
        super().__init__()
        self.network, self.z, self.grid, self.clock = network, z, grid, clock

    def steps(self, T: int) -> Tensor:
        found = table([self.network])[0]
        if len(found) != T:
            raise ValueError(f"the network knows {len(found)} times; {T} were asked for")
        return found

    def forward(self, x: Tensor) -> Tensor:
        s = self.network(self.clock.t).reshape(-1, *[1] * (x.ndim - 1))
        return lsq(x, s, self.z, self.grid) if self.training else fake_quantize(x, s.detach(), self.z, self.grid)


class LearnedClip(nn.Module):
    """PACT (1805.06085) or, with `noisy`, NIPQ (2206.00820): the top of the range is learned, as a multiple of where it
    began; s = alpha / (p - z)."""

    def __init__(self, s0: float, z: float, grid: Grid, noisy: bool):
        super().__init__()
        self.ratio = nn.Parameter(torch.ones(()))
        self.z = min(z, grid.high - 1.0)
        self.alpha0, self.grid, self.noisy = s0 * (grid.high - self.z), grid, noisy

    @property
    def alpha(self) -> Tensor:
        return self.alpha0 * self.ratio.clamp(min=SMALLEST_RATIO)

    def steps(self, T: int) -> Tensor:
        return (self.alpha.detach() / (self.grid.high - self.z)).expand(T).clone()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return fake_quantize(x, self.steps(1)[0], self.z, self.grid)
        return nipq(x, self.alpha, self.z, self.grid) if self.noisy else pact(x, self.alpha, self.z, self.grid)


def ready(
    net: nn.Module,
    plan: Plan,
    seen: Mapping[str, Sequence[Seen]],
    method: Trained,
    weight_bits: int,
    activation_bits: int,
    codes: Tensor,
    depth: int = DEPTH,
) -> nn.Module:
    """A copy of a network in which every layer of the plan learns to be quantized. All methods begin at the same steps
    and zero levels: those of the smallest squared error over all that was seen. codes: what TDQ is told of t, (T, d)"""
    made = copy.deepcopy(net).requires_grad_(True)
    clock, layers = Clock.at(made, len(codes)), layers_of(made)
    grid, of_weights = unsigned(activation_bits), symmetric(weight_bits)
    for site in plan.sites:
        part, layer = seen[site.name][0], layers[site.name]
        values, shares, low, high = part.pooled()
        found = mse_search(values, grid, low, high, weights=shares)
        s0, z = (float(one) for one in found)
        w0 = float(mse_search(layer.weight.detach().reshape(1, -1), of_weights)[0])
        inputs: nn.Module
        match method:
            case "tdq":
                inputs = TimedStep(StepNetwork(codes, s0, depth), z, grid, clock)
            case "lsq":
                inputs = LearnedStep(s0, z, grid, layer.weight[0].numel())
            case _:
                inputs = LearnedClip(s0, z, grid, method == "nipq")
        weights: nn.Module = LearnedStep(w0, 0.0, of_weights, layer.weight.numel())
        if method == "nipq":
            weights = LearnedClip(w0, 0.0, of_weights, True)
        replace(made, site.name, QuantizedLayer(layer, inputs, weights))
    return made


def clip_penalty(net: nn.Module) -> Tensor:
    """The sum of (alpha / alpha_0)^2, which PACT adds to its loss with a small factor. 1805.06085, section 3"""
    ratios = [part.ratio.square() for part in net.modules() if isinstance(part, LearnedClip)]
    return torch.stack(ratios).sum() if ratios else torch.zeros(())
