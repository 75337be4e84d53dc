"""What image to image must do, tried on the picture that is there, and told with a light for each fact."""

from __future__ import annotations

from collections.abc import Iterable

from studio.engine.strengths import Light, Strengths
from studio.text import t
from studio.ui.curve import Axis, Mark, curve_plot
from studio.ui.trial import Trial, draw_trial
from studio.ui.widgets import plain

TICKS = tuple((share, f"{share:g}") for share in (0, 0.2, 0.4, 0.6, 0.8, 1))
LEVELS_STEP = 20


def draw_lights(prefix: str) -> Trial:
    """The button that tries them, and the place below it."""
    return draw_trial("light", prefix, "check", "found")


def lights_of(found: Strengths, language: str) -> str:
    """A light for each fact, and the curve of the differences."""
    return f"{light_list(found.lights, language)}{_curve(found, language)}"


def light_list(lights: Iterable[Light], language: str) -> str:
    """A light for each fact, by sign as well as by colour."""
    lines = []
    for light in lights:
        kind, sign = ("holds", "✓") if light.holds else ("fails", "✗")
        sentence = t(f"light.{light.id}", language, **{name: _short(value) for name, value in light.values.items()})
        lines.append(f'<li><span class="studio-tag studio-tag-{kind}">{sign}</span> {plain(sentence)}</li>')
    return f'<ul class="studio-light-list">{"".join(lines)}</ul>'


def _curve(found: Strengths, language: str) -> str:
    """How far the result is from the picture, over the strength."""
    points = [(point.strength, point.to_source) for point in found.points]
    highest = max(value for _, value in points)
    top = LEVELS_STEP * (int(highest / LEVELS_STEP) + 1)
    x = Axis(t("text2img.strength", language), 0, 1, TICKS)
    y = Axis(t("light.y", language), 0, top, [(level, f"{level:g}") for level in (0, top / 2, top)])
    marks = [Mark(point, f"{point[0]:.2f}: {point[1]:.1f}") for point in points]
    return curve_plot(points, x, y, t("light.curve", language), marks)


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
