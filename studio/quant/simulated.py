"""Simulated quantization: a copy of a network that rounds as if it had few bits, and computes in full precision. It
shows what is lost, and says nothing of speed or memory.

Activations: one step for the whole tensor, on the unsigned grid n = 0, p = 2^b - 1 with a zero level z of its own, so
that what lies below zero is kept (So et al., 2306.02316). Weights: the same
grid, a step and a zero level for each output channel. Which layers: `studio.diffusion.observe`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studio.diffusion.clock import Clock
from studio.diffusion.observe import Plan, layers_of, plan, record
from studio.diffusion.quantize import Grid, fake_quantize, unsigned
from studio.diffusion.quantizers import QuantizedLayer, SplitQuantizer, replace
from studio.diffusion.seen import Seen
from studio.errors import InvalidInput
from studio.quant.method import Recipe

TIMES = 1_000
"""How many times the networks of this studio know; a table has a row for each."""


@dataclass(frozen=True)
class Wrapping:
    """What tells one simulated method from another.

    activations: from what went into each tensor to the quantizers of them, in the same order. weights: the steps and
    zero levels of rows of weights, (C, n) -> (C,), (C,). calls: from the times of the recorded calls to those that are
    learned from, by their numbers, with repetition. splits: whether the halves of what was joined have one each.
    """

    activations: Callable[[Sequence[Seen], Grid, Clock], Sequence[nn.Module]]
    weights: Callable[[Tensor, Grid], tuple[Tensor, Tensor]]
    calls: Callable[[Tensor], Tensor]
    splits: bool = False


def plan_of(net: nn.Module) -> Plan | None:
    """Which layers of a simulated network are quantized, and what share they are; None for any other network."""
    found = getattr(net, "_simulated_plan", None)
    return found if isinstance(found, Plan) else None


@torch.no_grad()
def simulate(net: nn.Module, wrapping: Wrapping, recipe: Recipe) -> nn.Module:
    """A copy of the network with quantizers in it, of the same type and the same call; the given one is untouched.

    net: one whose second argument is its time, such as our UNet or diffusers' UNet2DConditionModel. Raises InvalidInput
    without calls to learn from, and for a network in which nothing can be quantized.
    """
    calls = recipe.calibration
    if not len(calls):
        raise InvalidInput("quant_without_calls", field="calibration")
    made = copy.deepcopy(net).eval().requires_grad_(False)
    try:
        chosen = plan(made, calls[0])
        seen = record(made, chosen, calls, TIMES, wrapping.splits)
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput("quant_not_a_denoiser", field="model", value=type(net).__name__) from error
    clock, layers = Clock.at(made, TIMES), layers_of(made)
    parts = [part.of(wrapping.calls(part.t)) for site in chosen.sites for part in seen[site.name]]
    quantizers = iter(wrapping.activations(parts, unsigned(recipe.activation_bits), clock))
    for site in chosen.sites:
        layer = layers[site.name]
        inputs = [next(quantizers) for _ in seen[site.name]]
        layer.weight.data = rounded_rows(layer.weight, unsigned(recipe.weight_bits), wrapping.weights)
        module = inputs[0] if len(inputs) == 1 else SplitQuantizer(inputs[0], inputs[1], site.split)
        replace(made, site.name, QuantizedLayer(layer, module.to(layer.weight.device)))
    made._simulated_plan = chosen  # type: ignore[assignment]
    return made


def rounded_rows(weight: Tensor, grid: Grid, steps: Callable[[Tensor, Grid], tuple[Tensor, Tensor]]) -> Tensor:
    """A weight whose every output channel, (C_out, ...), is rounded with a step and a zero level of its own."""
    rows = weight.detach().flatten(1).float()
    s, z = steps(rows, grid)
    return fake_quantize(rows, s[:, None], z[:, None], grid).view_as(weight).to(weight.dtype)
