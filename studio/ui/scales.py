"""A sweep over scales, for a person to read: what more and more of a control does to the picture and to its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from studio.engine.scales import ScalePoint
from studio.text import t
from studio.ui.curve import Axis, Place
from studio.ui.figure import Line, data_uri, even_ticks, figure
from studio.ui.widgets import plain

SHARES = ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))


def swept(points: Sequence[ScalePoint], language: str) -> str:
    """A line for each number that was measured, over the scale, and the pictures below it."""
    names = [name for name in points[0].measured if any(point.measured[name] is not None for point in points)]
    lines = [_line(points, name, number, language) for number, name in enumerate(names)]
    lowest = min((value for line in lines for _, value in line.points), default=0.0)
    x = Axis(t("sweep.x", language), points[0].scale, points[-1].scale, even_ticks(points[0].scale, points[-1].scale))
    y = Axis(t("sweep.y", language), min(0.0, lowest), 1, SHARES)
    plot = figure(x, y, t("sweep.plot", language), lines) if lines else ""
    return f'{plot}<div class="studio-strip">{"".join(map(_picture, points))}</div>'


def _line(points: Sequence[ScalePoint], name: str, number: int, language: str) -> Line:
    places: list[Place] = [(point.scale, value) for point in points if (value := point.measured[name]) is not None]
    return Line(places, number, t(f"sweep.{name}", language))


def _picture(point: ScalePoint) -> str:
    told = " · ".join(f"{value:.2f}" for value in point.measured.values() if value is not None)
    return (
        f'<figure><img alt="" src="{data_uri(point.picture)}"><figcaption>{point.scale:g}'
        f"<small>{plain(told)}</small></figcaption></figure>"
    )
