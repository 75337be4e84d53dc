"""A small plot as SVG that fills its column: letters keep their size, colours follow light and dark by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from studio.ui.widgets import plain

HEIGHT = 134
"""Between the axes, in pixels; the style sheet leaves room for what is written around them."""
MAX_TICKS = 10
LOWEST_TOP = 0.25
"""The axis reaches at least this high, and further in steps of it."""


def line_plot(values: Sequence[float], x_name: str, y_name: str, title: str) -> str:
    """Shares, one for each step from 1, as a line with two named axes, and a hidden mark that a script can move.

    Each point tells its step and its value to who points at it.
    """
    top = LOWEST_TOP * max(1, math.ceil(max(values) / LOWEST_TOP))
    xs = [across(index, len(values)) for index in range(len(values))]
    ys = [100 * (1 - value / top) for value in values]
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in zip(xs, ys, strict=True))
    dots = "".join(
        f'<circle cx="{x:.2f}%" cy="{y:.2f}%" r="3.5"><title>{plain(x_name)} {index}: {value:.0%}</title></circle>'
        for index, (x, y, value) in enumerate(zip(xs, ys, values, strict=True), start=1)
    )
    return (
        f'<div class="studio-plot"><svg width="100%" height="{HEIGHT}" role="img" aria-label="{plain(title)}">'
        f"{_y_axis(top, y_name)}{_x_axis(len(values), x_name)}"
        '<line class="studio-plot-now" y1="0" y2="100%" visibility="hidden"/>'
        '<svg viewBox="0 0 100 100" width="100%" height="100%" preserveAspectRatio="none" overflow="visible">'
        f'<polyline points="{points}"/></svg>{dots}</svg></div>'
    )


def across(index: int, count: int) -> float:
    """Where a step stands, in per cent of the width; a single one in the middle."""
    return 100 * index / (count - 1) if count > 1 else 50.0


def _y_axis(top: float, name: str) -> str:
    """Lines across, their values, and the axis' name along it."""
    lines = "".join(
        f'<line class="studio-plot-grid" x1="0" x2="100%" y1="{100 - share}%" y2="{100 - share}%"/>'
        f'<text x="-8" y="{100 - share}%" dy="4" text-anchor="end">{share / 100 * top:.0%}</text>'
        for share in (0, 50, 100)
    )
    return f'{lines}<text transform="translate(-44 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{plain(name)}</text>'


def _x_axis(count: int, name: str) -> str:
    """At most MAX_TICKS numbers of steps, and the axis' name below them."""
    ticks = "".join(
        f'<text x="{across(index, count):.2f}%" y="{HEIGHT + 18}" text-anchor="middle">{index + 1}</text>'
        for index in range(0, count, math.ceil(count / MAX_TICKS))
    )
    return f'{ticks}<text x="50%" y="{HEIGHT + 38}" text-anchor="middle">{plain(name)}</text>'
