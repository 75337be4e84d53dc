"""What is left of a network that has learned to be quantized: whole numbers, tables of steps, and no step networks.

Tensors by name. For each quantized layer NAME: `NAME.levels` int8, the weight as whole numbers, two to a byte at 4 bits
and below; `NAME.shape` int32; `NAME.step` float32, of the weight; `NAME.table` (T,) float32, or (1,) where it is the
same at all times; `NAME.zero` float32. Everything else has its own name, in half precision. The bits are the caller's
to keep. Loading gives the very numbers that were packed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from studio.diffusion.clock import Clock
from studio.diffusion.learned import LearnedClip, LearnedStep, TimedStep
from studio.diffusion.observe import layers_of
from studio.diffusion.quantize import quantized, symmetric, unsigned
from studio.diffusion.quantizers import QuantizedLayer, TableQuantizer, replace

NIBBLE_BITS = 4
PARTS = ("levels", "shape", "step", "table", "zero")


@torch.no_grad()
def pack(net: nn.Module, T: int) -> dict[str, Tensor]:
    """The tensors of a network that `learned.ready` made and that has learned."""
    wrapped = {name: part for name, part in net.named_modules() if isinstance(part, QuantizedLayer)}
    packed: dict[str, Tensor] = {}
    for name, part in wrapped.items():
        inputs, weights = part.inputs, part.weights
        assert isinstance(inputs, LearnedStep | TimedStep | LearnedClip)
        assert isinstance(weights, LearnedStep | LearnedClip)
        step, steps = weights.steps(1), inputs.steps(T)
        levels = quantized(part.weight, step[0], 0.0, weights.grid).to(torch.int8)
        small = weights.grid.levels <= 2**NIBBLE_BITS
        packed[f"{name}.levels"] = _halved(levels.flatten()) if small else levels.flatten()
        packed[f"{name}.shape"] = torch.tensor(levels.shape, dtype=torch.int32)
        packed[f"{name}.step"] = step
        packed[f"{name}.table"] = steps if isinstance(inputs, TimedStep) else steps[:1].clone()
        packed[f"{name}.zero"] = torch.tensor([inputs.z])
        if part.bias is not None:
            packed[f"{name}.bias"] = part.bias.half()
    for name, value in net.state_dict().items():
        if not any(name.startswith(f"{layer}.") for layer in wrapped):
            packed[name] = value.half()
    return {name: value.contiguous() for name, value in packed.items()}


@torch.no_grad()
def unpack(net: nn.Module, tensors: Mapping[str, Tensor], weight_bits: int, activation_bits: int, T: int) -> nn.Module:
    """A copy of a network with what was packed in its place; its type and call are the same.

    Raises KeyError or RuntimeError for tensors that do not belong to such a network.
    """
    made = copy.deepcopy(net).eval().requires_grad_(False)
    clock, layers, grid = Clock.at(made, T), layers_of(made), unsigned(activation_bits)
    names = [name.removesuffix(".levels") for name in tensors if name.endswith(".levels")]
    state: dict[str, Tensor] = {}
    for name in names:
        shape = tensors[f"{name}.shape"].tolist()
        flat = tensors[f"{name}.levels"]
        whole = _doubled(flat, layers[name].weight.numel()) if symmetric(weight_bits).levels <= 16 else flat
        state[f"{name}.weight"] = whole.reshape(shape).float() * tensors[f"{name}.step"]
        if layers[name].bias is not None:
            state[f"{name}.bias"] = tensors[f"{name}.bias"].float()
    plain = {name: value.float() for name, value in tensors.items() if name.rpartition(".")[0] not in names}
    made.load_state_dict({**state, **plain})
    for name in names:
        steps, zeros = (tensors[f"{name}.{part}"].expand(T).clone() for part in ("table", "zero"))
        replace(made, name, QuantizedLayer(layers[name], TableQuantizer(steps, zeros, grid, clock)))
    return made


def tables(tensors: Mapping[str, Tensor], T: int) -> dict[str, Tensor]:
    """s(t) of each quantized layer, by its path. (T,) each"""
    return {name.removesuffix(".table"): s.expand(T) for name, s in tensors.items() if name.endswith(".table")}


def _halved(levels: Tensor) -> Tensor:
    """Two whole numbers from -8 to 7 in a byte. (n,) int8 -> (ceil(n / 2),) uint8"""
    even = torch.cat([levels, levels.new_zeros(len(levels) % 2)]).to(torch.int16) + 8
    return (even[::2] * 16 + even[1::2]).to(torch.uint8)


def _doubled(halved: Tensor, count: int) -> Tensor:
    """The inverse. (ceil(count / 2),) uint8 -> (count,) int8"""
    both = torch.stack([halved // 16, halved % 16], 1).flatten().to(torch.int16) - 8
    return both[:count].to(torch.int8)
