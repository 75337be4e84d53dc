"""Figures of the maths pages as SVG: lines, bars, dots and arrows over two named axes, in the look of `curve.py`.

They are drawn here and not by a plotting library, so that one takes a millisecond, weighs a few kilobytes, asks nobody
for anything, and follows light, dark and language by itself.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from studio.ui.curve import Axis, Place, x_axis, y_axis
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHT = 150
"""In pixels, between the axes."""
PLAIN_STEPS, ROUNDING = (1.0, 2.0, 2.5, 5.0, 10.0), 1e-9
HEAD = 1.6
"""The size of an arrow's head, in per cent of the figure."""


@dataclass(frozen=True)
class Line:
    """A line through places. colour: one of the six of the style sheet, from 0; strong: drawn thicker."""

    points: Sequence[Place]
    colour: int = 0
    name: str = ""
    strong: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Dots:
    """Many small places."""

    points: Sequence[Place]
    colour: int = 0
    name: str = ""
    radius: float = 0.7


@dataclass(frozen=True)
class Arrows:
    """From places to places."""

    pairs: Sequence[tuple[Place, Place]]
    colour: int = 0
    name: str = ""


@dataclass(frozen=True)
class Bars:
    """A bar of equal width for each value, from low to high on the x axis."""

    values: Sequence[float]
    low: float
    high: float
    colour: int = 0
    name: str = ""


@dataclass(frozen=True)
class Area:
    """What lies within places, from each to the next and back to the first."""

    points: Sequence[Place]
    colour: int = 0
    name: str = ""


Part = Line | Dots | Arrows | Bars | Area


def figure(
    x: Axis, y: Axis, title: str, parts: Sequence[Part], now: float | None = None, ground: Image | None = None,
    height: int = HEIGHT,
) -> str:  # fmt: skip
    """The parts over each other. title: what who cannot see it is told; now: where on the x axis a dashed line stands;
    ground: a picture behind everything, from corner to corner."""
    behind = ""
    if ground is not None:
        behind = f'<image href="{data_uri(ground, "PNG")}" width="100" height="100" preserveAspectRatio="none"/>'
    drawn = "".join(_part(part, x, y) for part in parts)
    mark = ""
    if now is not None:
        at = f"{x.share(now):.2f}%"
        mark = f'<line class="studio-plot-now" x1="{at}" x2="{at}" y1="0" y2="100%"/>'
    return (
        f'<figure class="studio-plot studio-figure"><svg width="100%" height="{height}" role="img"'
        f' aria-label="{plain(title)}">{y_axis(y, height)}{x_axis(x, height)}{mark}'
        '<svg viewBox="0 0 100 100" width="100%" height="100%" preserveAspectRatio="none">'
        f"{behind}{drawn}</svg></svg>{_legend(parts)}</figure>"
    )


def _part(part: Part, x: Axis, y: Axis) -> str:
    """One of them, in per cent of the figure."""
    kind = f"fig-{part.colour}"
    match part:
        case Line(points=points, strong=strong, dashed=dashed):
            path = " ".join(f"{x.share(a):.2f},{100 - y.share(b):.2f}" for a, b in points)
            also = f"{' fig-strong' if strong else ''}{' fig-dashed' if dashed else ''}"
            return f'<polyline class="{kind}{also}" points="{path}"/>'
        case Dots(points=points, radius=radius):
            dots = (f"{x.share(a):.1f},{100 - y.share(b):.1f}" for a, b in points)
            return f'<path class="{kind} fig-dots" d="{"".join(_dot(dot, radius) for dot in dots)}"/>'
        case Area(points=points):
            path = "L".join(f"{a:.2f} {b:.2f}" for a, b in (_at(point, x, y) for point in points))
            return f'<path class="{kind} fig-bars" d="M{path}z"/>'
        case Arrows(pairs=pairs):
            path = "".join(_arrow(_at(start, x, y), _at(end, x, y)) for start, end in pairs)
            return f'<path class="{kind} fig-arrow" d="{path}"/>'
        case Bars(values=values, low=low, high=high):
            step = (high - low) / len(values)
            width, floor = x.share(low + step) - x.share(low), 100 - y.share(0)
            edges = ((x.share(low + i * step), 100 - y.share(value)) for i, value in enumerate(values))
            path = "".join(f"M{left:.2f} {floor:.2f}V{top:.2f}h{width:.2f}V{floor:.2f}z" for left, top in edges)
            return f'<path class="{kind} fig-bars" d="{path}"/>'


def _at(place: Place, x: Axis, y: Axis) -> Place:
    return x.share(place[0]), 100 - y.share(place[1])


def _dot(place: str, radius: float) -> str:
    """A small diamond around a place: shorter to say than a circle."""
    r = f"{radius:g}"
    return f"M{place}m-{r} 0l{r} -{r} {r} {r} -{r} {r}z"


def _arrow(start: Place, end: Place) -> str:
    """A line with two strokes as its head; a point where it has no length."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    if length < 0.2:
        return f"M{start[0]:.2f} {start[1]:.2f}h.2"
    ux, uy = HEAD * dx / length, HEAD * dy / length
    left, right = (end[0] - ux + 0.5 * uy, end[1] - uy - 0.5 * ux), (end[0] - ux - 0.5 * uy, end[1] - uy + 0.5 * ux)
    head = f"M{left[0]:.2f} {left[1]:.2f}L{end[0]:.2f} {end[1]:.2f}L{right[0]:.2f} {right[1]:.2f}"
    return f"M{start[0]:.2f} {start[1]:.2f}L{end[0]:.2f} {end[1]:.2f}{head}"


def _legend(parts: Sequence[Part]) -> str:
    """The names of the parts that have one, each beside its colour."""
    named = [part for part in parts if part.name]
    if not named:
        return ""
    told = "".join(f'<span><i class="fig-key fig-{part.colour}"></i>{plain(part.name)}</span>' for part in named)
    return f"<figcaption>{told}</figcaption>"


def data_uri(picture: Image, file_format: str = "JPEG") -> str:
    """A picture inside the page itself: no file, no further request."""
    buffer = BytesIO()
    picture.save(buffer, file_format, quality=88)
    return f"data:image/{file_format.lower()};base64,{b64encode(buffer.getvalue()).decode()}"


def even_ticks(low: float, high: float, count: int = 4) -> list[tuple[float, str]]:
    """About `count` plain numbers at equal distances, multiples of 1, 2, 2.5 or 5 times a power of ten, as they are
    written; none where high is not above low."""
    if not high > low:
        return []
    wanted = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(wanted))
    step = unit * min(PLAIN_STEPS, key=lambda one: abs(math.log(one * unit / wanted)))
    first, last = math.ceil(low / step - ROUNDING), math.floor(high / step + ROUNDING)
    return [(step * place, f"{step * place:.4g}") for place in range(first, last + 1)]
