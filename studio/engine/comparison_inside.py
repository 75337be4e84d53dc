"""A look inside a network that is quantized: how the ranges of its activations move over t, where the error arises,
and which steps a quantizer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.engine.calibration import Call

if TYPE_CHECKING:
    import torch

    from studio.diffusion.seen import Seen

T = 1_000
MOST_CALLS = 40
LISTENED_CALLS = 8
"""To so many calls, evenly over the walk, layers are compared at."""
MOST_SAMPLES = 2_000
SPREAD_TIMES, SPREAD_BINS = 9, 48


@dataclass(frozen=True)
class Spread:
    """How the values that go into one layer are spread, at some times. times: falling; values: the middles of equal
    bins; shares: (times, bins), how much of what comes at a time lies in each."""

    layer: str
    times: tuple[int, ...]
    values: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Inside:
    """Of the full-precision network. layers: names in the order in which they are reached; times: falling;
    ranges: (layers, times), largest less smallest activation that goes in; correlation: Pearson's r of range and t;
    ratio: largest range over smallest. samples: some values of what goes into each layer, over all times; spread:
    of the layer whose range moves most."""

    layers: tuple[str, ...]
    times: tuple[int, ...]
    ranges: tuple[tuple[float, ...], ...]
    correlation: tuple[float, ...]
    ratio: tuple[float, ...]
    samples: dict[str, tuple[float, ...]]
    spread: Spread


@dataclass(frozen=True)
class LayerErrors:
    """times: falling; errors: (layers, times), what a layer's output differs by, of its own size. steps: by layer,
    the quantizer's step at each of `times`; zeros: its zero level; both empty where no quantizer has a table; levels:
    of its grid."""

    layers: tuple[str, ...]
    times: tuple[int, ...]
    errors: tuple[tuple[float, ...], ...]
    steps: dict[str, tuple[float, ...]]
    zeros: dict[str, float]
    levels: int


def inside_of(net: Any, calls: Sequence[Call]) -> Inside:
    """Listen to a full-precision network on its own calls."""
    from studio.diffusion.observe import plan, record

    chosen = plan(net, calls[0])
    seen = {name: found[0] for name, found in record(net, chosen, _evenly(calls, MOST_CALLS), T).items()}
    times = tuple(sorted({t for one in seen.values() for t in one.t.tolist()}, reverse=True))
    ranges = [tuple(float(one.range[one.t == t].mean()) for t in times) for one in seen.values()]
    ratios = {name: one.ratio() for name, one in seen.items()}
    moving = max(ratios, key=ratios.__getitem__)
    return Inside(
        layers=tuple(seen),
        times=times,
        ranges=tuple(ranges),
        correlation=tuple(one.correlation() for one in seen.values()),
        ratio=tuple(ratios.values()),
        samples={name: _few(one.values) for name, one in seen.items()},
        spread=spread_of(moving, seen[moving]),
    )


def spread_of(layer: str, seen: Seen) -> Spread:
    """At SPREAD_TIMES times, evenly over those that were seen."""
    import torch

    times = sorted(set(seen.t.tolist()), reverse=True)
    places = torch.linspace(0, len(times) - 1, SPREAD_TIMES).round().int().tolist()
    chosen = [times[place] for place in dict.fromkeys(places)]
    low, high = float(seen.low.min()), float(seen.high.max())
    width = max(high - low, 1e-12) / SPREAD_BINS
    bins = ((seen.centres - low) / width).long().clamp(0, SPREAD_BINS - 1)  # (calls, BINS)
    found = torch.zeros(len(seen.t), SPREAD_BINS).scatter_add_(1, bins, seen.shares)
    shares = tuple(tuple(found[seen.t == t].mean(0).tolist()) for t in chosen)
    return Spread(layer, tuple(chosen), tuple(low + (i + 0.5) * width for i in range(SPREAD_BINS)), shares)


def _few(values: torch.Tensor) -> tuple[float, ...]:
    """At most MOST_SAMPLES of them, evenly."""
    flat = values.flatten()
    return tuple(flat[:: max(1, -(-len(flat) // MOST_SAMPLES))].tolist())


def errors_of(net: Any, quantized: Any, calls: Sequence[Call]) -> LayerErrors | None:
    """By how much each layer's output differs, of its own size; None where the layers cannot be listened to."""
    import torch

    from studio.diffusion.observe import plan

    names = [site.name for site in plan(net, calls[0]).sites]
    if not _has(quantized, names):
        return None
    listened = _evenly(calls, LISTENED_CALLS)
    times = tuple(int(torch.as_tensor(call[0][1]).reshape(-1)[0]) for call in listened)
    columns = []
    with torch.inference_mode():
        for call in listened:
            expected, found = (_outputs(one, names, call) for one in (net, quantized))
            columns.append([_relative(found[name], expected[name]) for name in names])
    steps, zeros, levels = _tables(quantized, names, times)
    return LayerErrors(tuple(names), times, tuple(zip(*columns, strict=True)), steps, zeros, levels)


def _evenly(calls: Sequence[Call], most: int) -> list[Call]:
    """At most so many of them, from the first to the last."""
    if len(calls) <= most:
        return list(calls)
    return [calls[round(index * (len(calls) - 1) / (most - 1))] for index in range(most)]


def _has(net: Any, names: Sequence[str]) -> bool:
    """Whether a network has modules of these paths."""
    own = {name for name, _ in net.named_modules()}
    return own.issuperset(names)


def _outputs(net: Any, names: Sequence[str], call: Call) -> dict[str, torch.Tensor]:
    """What the modules of these paths give for a call, in float32."""
    found: dict[str, torch.Tensor] = {}
    handles = [
        net.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: found.__setitem__(name, output.detach().float())
        )
        for name in names
    ]
    try:
        args, kwargs = call
        net(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))


def _tables(
    quantized: Any, names: Sequence[str], times: Sequence[int]
) -> tuple[dict[str, tuple[float, ...]], dict[str, float], int]:
    """The steps of quantizers that have a table over t."""
    from studio.diffusion.quantizers import QuantizedLayer, TableQuantizer

    steps, zeros, levels = dict[str, tuple[float, ...]](), dict[str, float](), 0
    for name in names:
        layer = quantized.get_submodule(name)
        if isinstance(layer, QuantizedLayer) and isinstance(layer.inputs, TableQuantizer):
            table: Any = layer.inputs.steps
            steps[name] = tuple(table[list(times)].tolist())
            zeros[name] = float(layer.inputs.zeros[times[0]])  # type: ignore[index]
            levels = layer.inputs.grid.levels
    return steps, zeros, levels
