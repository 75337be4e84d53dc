"""Looking at a network before it is quantized: which layers can be, how much of it they are, what goes into them at
which time.

Kept in full precision, as So et al. (2306.02316) and Q-Diffusion (2302.04304) do: the first and the last convolution,
in the order in which they are reached, and every linear layer that hears the time alone, which can be computed
beforehand. Products of activations with each other, in attention, are kept too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from studio.diffusion.clock import Clock
from studio.diffusion.seen import Counted, Seen, counted, gathered

Call = tuple[tuple[Any, ...], Mapping[str, Any]]
HEARS_TIME_ALONE = ("add_embedding", "class_embedding")


@dataclass(frozen=True)
class Site:
    """A layer that is quantized. macs: multiplications of one call; split: where its input is two tensors behind each
    other, the channels of the first one, else 0."""

    name: str
    macs: int
    split: int = 0


@dataclass(frozen=True)
class Plan:
    """The layers that are quantized, in the order in which they are reached, and what they are of the whole network.

    weight_share: of the weights of all layers; mac_share: of the multiplications of a call, products of activations
    included.
    """

    sites: tuple[Site, ...]
    kept: tuple[str, ...]
    weight_share: float
    mac_share: float


class _Joins(TorchFunctionMode):
    """Remembers which tensors were joined of two along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.joined: dict[int, tuple[Tensor, int]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        dim = args[1] if len(args) > 1 else (kwargs or {}).get("dim", 0)
        if func is torch.cat and dim == 1 and len(args[0]) == 2:
            self.joined[id(result)] = (result, args[0][0].shape[1])
        return result


def layers_of(net: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Every convolution and linear layer, by its path."""
    return {name: part for name, part in net.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}


@torch.no_grad()
def plan(net: nn.Module, call: Call) -> Plan:
    """Ask the network once, and say what can be quantized. Raises ValueError where that is nothing."""
    layers, macs, splits = layers_of(net), dict[str, int](), dict[str, int]()

    def look(name: str, x: Tensor, y: Tensor) -> None:
        weight = layers[name].weight
        macs[name] = macs.get(name, 0) + y.numel() * weight[0].numel()
        splits[name] = joins.joined[id(x)][1] if id(x) in joins.joined else 0

    args, kwargs = call
    with watched(layers, look), FlopCounterMode(display=False) as counter, _Joins() as joins:
        net(*args, **kwargs)
    convolutions = [name for name in macs if isinstance(layers[name], nn.Conv2d)]
    ends = {*convolutions[:1], *convolutions[-1:]}
    taken = [name for name in macs if name not in ends and not _hears_time_alone(name)]
    if not taken:
        raise ValueError(f"{type(net).__name__} has no layer that can be quantized")
    weights = {name: layer.weight.numel() for name, layer in layers.items()}
    total = max(counter.get_total_flops() // 2, sum(macs.values()))
    return Plan(
        tuple(Site(name, macs[name], splits[name]) for name in taken),
        tuple(name for name in layers if name not in taken),
        sum(weights[name] for name in taken) / sum(weights.values()),
        sum(macs[name] for name in taken) / total,
    )


def _hears_time_alone(name: str) -> bool:
    return any(part.startswith("time") or part in HEARS_TIME_ALONE for part in name.split("."))


@torch.no_grad()
def record(net: nn.Module, plan: Plan, calls: Sequence[Call], T: int, splits: bool = False) -> dict[str, list[Seen]]:
    """What goes into each of the plan's layers, in float32 on the CPU: one Seen, or with `splits` one for each half of
    what was joined. The times of a call's samples are taken for their mean."""
    layers, halves = layers_of(net), {site.name: site.split for site in plan.sites if splits and site.split}
    kept: dict[str, list[list[Counted]]] = {site.name: [] for site in plan.sites}
    generator, clock = torch.Generator().manual_seed(0), Clock.at(net, T)
    times = []

    def look(name: str, x: Tensor, y: Tensor) -> None:
        at = halves.get(name)
        parts = (x,) if at is None else (x[:, :at], x[:, at:])
        kept[name].append([counted(part, generator) for part in parts])

    try:
        with watched({site.name: layers[site.name] for site in plan.sites}, look):
            for args, kwargs in calls:
                net(*args, **kwargs)
                times.append(clock.t.double().mean())
    finally:
        clock.leave()
    t = torch.stack(times).round().long().cpu()
    return {name: [gathered(t, part) for part in zip(*found, strict=True)] for name, found in kept.items()}


@contextmanager
def watched(layers: Mapping[str, nn.Conv2d | nn.Linear], look: Callable[[str, Tensor, Tensor], None]) -> Iterator[None]:
    """Show every layer's input and output, by name, and leave no hook behind."""
    handles = []
    for name, layer in layers.items():

        def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor, name: str = name) -> None:
            look(name, args[0], output)

        handles.append(layer.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
