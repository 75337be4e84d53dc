"""Times that can be compared on a machine that others use too: taken in turn, told as medians with their spread."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from studio.evaluate.report import ReportRow

WARM_UPS = 1
Seconds = list[float]


@dataclass(frozen=True)
class Spent:
    """What the calls of one way took, round by round. cpu_seconds: of all threads; other programs disturb it less."""

    seconds: Seconds = field(default_factory=list)
    cpu_seconds: Seconds = field(default_factory=list)


def interleave(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Spent]:
    """What each call of every way takes, warmed up; each round begins with another one of them."""
    names = list(ways)
    spent = {name: Spent() for name in names}
    for turn in range(-WARM_UPS, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started, cpu_started = time.perf_counter(), time.process_time()
            ways[name]()
            if turn >= 0:
                spent[name].seconds.append(time.perf_counter() - started)
                spent[name].cpu_seconds.append(time.process_time() - cpu_started)
    return spent


def median_row(
    name: str,
    values: Sequence[float],
    unit: str,
    where: str = "",
    target: float | None = None,
    sense: Literal["higher", "lower"] = "lower",
) -> ReportRow:
    """The median of values, with its interval."""
    low, high = median_interval(values)
    return ReportRow(name, statistics.median(values), unit, where, low, high, target=target, sense=sense)


def ratio_row(
    name: str, ours: Sequence[float], theirs: Sequence[float], where: str = "", target: float | None = None
) -> ReportRow:
    """The median of the ratios of what was measured in the same round."""
    return median_row(name, [a / b for a, b in zip(ours, theirs, strict=True)], "ratio", where, target)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The distribution-free 95 % interval of the median: order statistics at n/2 -+ 0.98 sqrt(n); all if n < 6."""
    ordered = sorted(values)
    below = max(0, math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))))
    return ordered[below], ordered[-1 - below]
