"""A curve over two named axes as SVG that fills its column; drawn with the classes of `plot.py`'s style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio.ui.plot import HEIGHT
from studio.ui.widgets import plain

Place = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """low, high: its ends; ticks: the values that are written beside it, and how."""

    name: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """Where a value stands, in per cent of the axis."""
        return 100 * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Mark:
    """A place that is told: a dot on the curve. drop: whether a line leads from it down to the x axis."""

    place: Place
    title: str
    drop: bool = False


def curve_plot(points: Sequence[Place], x: Axis, y: Axis, title: str, marks: Sequence[Mark] = ()) -> str:
    """A line through the points, and marks on it. title: what who cannot see it is told."""
    line = " ".join(f"{x.share(one):.2f},{100 - y.share(other):.2f}" for one, other in points)
    return (
        f'<div class="studio-plot"><svg width="100%" height="{HEIGHT}" role="img" aria-label="{plain(title)}">'
        f"{y_axis(y, HEIGHT)}{x_axis(x, HEIGHT)}{''.join(_drop(mark, x, y) for mark in marks if mark.drop)}"
        '<svg viewBox="0 0 100 100" width="100%" height="100%" preserveAspectRatio="none" overflow="visible">'
        f'<polyline points="{line}"/></svg>{"".join(_dot(mark, x, y) for mark in marks)}</svg></div>'
    )


def _dot(mark: Mark, x: Axis, y: Axis) -> str:
    across, down = x.share(mark.place[0]), 100 - y.share(mark.place[1])
    return f'<circle cx="{across:.2f}%" cy="{down:.2f}%" r="5"><title>{plain(mark.title)}</title></circle>'


def _drop(mark: Mark, x: Axis, y: Axis) -> str:
    across, down = x.share(mark.place[0]), 100 - y.share(mark.place[1])
    return f'<line class="studio-plot-now" x1="{across:.2f}%" x2="{across:.2f}%" y1="{down:.2f}%" y2="100%"/>'


def y_axis(axis: Axis, height: int) -> str:
    """Lines across, their values, and the axis' name along it."""
    lines = "".join(
        f'<line class="studio-plot-grid" x1="0" x2="100%" y1="{100 - axis.share(value):.2f}%"'
        f' y2="{100 - axis.share(value):.2f}%"/>'
        f'<text x="-8" y="{100 - axis.share(value):.2f}%" dy="4" text-anchor="end">{plain(text)}</text>'
        for value, text in axis.ticks
    )
    name = f'<text transform="translate(-44 {height / 2}) rotate(-90)" text-anchor="middle">{plain(axis.name)}</text>'
    return lines + name


def x_axis(axis: Axis, height: int) -> str:
    """Values below the line, and the axis' name below them."""
    ticks = "".join(
        f'<text x="{axis.share(value):.2f}%" y="{height + 18}" text-anchor="middle">{plain(text)}</text>'
        for value, text in axis.ticks
    )
    return f'{ticks}<text x="50%" y="{height + 38}" text-anchor="middle">{plain(axis.name)}</text>'
