"""Ink and paint: a canvas whose pen depends on the style, and which keeps instances beside colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Point = tuple[float, float]
SHIFT = 4  # sub-pixel bits of OpenCV's drawing functions


@dataclass(frozen=True)
class Pen:
    """How a style turns a colour into fill and stroke.

    fill: the weight of `paper` in the colour of a shape; stroke: "none", "ink" (one colour), "dark" (the fill,
    darkened) or "own" (the colour itself). width: of the stroke, in pictures. shade: whether highlights and shaded
    sides are drawn. background_fill and background_width: the same for what stands behind.
    """

    paper: Colour
    fill: float
    stroke: str
    ink: Colour
    width: float
    shade: bool
    background_fill: float
    background_width: float


PENS: dict[str, Pen] = {
    "flat": Pen((255, 255, 255), 0.0, "none", (0, 0, 0), 0.0, True, 0.0, 0.0),
    "watercolour": Pen((252, 248, 238), 0.16, "dark", (0, 0, 0), 0.008, True, 0.34, 0.0),
    "pixel": Pen((255, 255, 255), 0.0, "dark", (40, 30, 50), 0.018, False, 0.0, 0.0),
    "line": Pen((253, 250, 240), 1.0, "ink", (38, 36, 44), 0.017, False, 1.0, 0.010),
    "neon": Pen((18, 12, 40), 0.86, "own", (255, 255, 255), 0.021, False, 0.97, 0.011),
    "crayon": Pen((250, 244, 228), 0.12, "dark", (0, 0, 0), 0.016, False, 0.38, 0.0),
    "blueprint": Pen((28, 72, 150), 0.97, "ink", (226, 238, 252), 0.013, False, 1.0, 0.008),
    "pop_art": Pen((255, 246, 200), 0.0, "ink", (22, 18, 24), 0.022, False, 0.0, 0.012),
}


def mix(a: Colour, b: Colour, weight: float) -> Colour:
    """a at weight 0, b at weight 1."""
    return (
        round(a[0] + (b[0] - a[0]) * weight),
        round(a[1] + (b[1] - a[1]) * weight),
        round(a[2] + (b[2] - a[2]) * weight),
    )


def darker(colour: Colour, weight: float = 0.25) -> Colour:
    return mix(colour, (20, 14, 44), weight)


def lighter(colour: Colour, weight: float = 0.3) -> Colour:
    return mix(colour, (255, 255, 255), weight)


def _on_ellipse(centre: Point, radii: Point, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points (N, 2) at these angles in radians."""
    return np.stack([centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)], axis=1)


class Canvas:
    """An RGB picture of `side` pixels in which coordinates are fractions of the side, y downwards.

    `entity` is the instance that is being drawn (0: background). ids is None when maps are not wanted.
    """

    def __init__(self, side: int, style: str, maps: bool) -> None:
        self.side, self.pen = side, PENS[style]
        self.image: NDArray[np.uint8] = np.full((side, side, 3), self.pen.paper, np.uint8)
        self.ids: NDArray[np.uint8] | None = np.zeros((side, side), np.uint8) if maps else None
        self.entity = 0

    def _fixed(self, points: Sequence[Point] | NDArray[np.float64]) -> NDArray[np.int32]:
        return np.round((np.asarray(points) * self.side - 0.5) * (1 << SHIFT)).astype(np.int32)

    def _fill_colour(self, colour: Colour) -> Colour:
        return mix(colour, self.pen.paper, self.pen.fill if self.entity else self.pen.background_fill)

    def _stroke_colour(self, colour: Colour) -> Colour:
        if self.pen.stroke == "ink":
            return self.pen.ink if self.entity else mix(self.pen.ink, self.pen.paper, 0.35)
        if self.pen.stroke == "own":
            return lighter(colour, 0.15) if self.entity else mix(colour, self.pen.paper, 0.35)
        return darker(colour, 0.42)

    def _stroke_pixels(self) -> int:
        if self.pen.stroke == "none":
            return 0
        width = self.pen.width if self.entity else self.pen.background_width
        return max(1, round(width * self.side)) if width else 0

    def polygon(self, points: Sequence[Point] | NDArray[np.float64], colour: Colour, outline: bool = True) -> None:
        """A filled shape; with the style's stroke unless `outline` is off."""
        fixed = self._fixed(points)
        cv2.fillPoly(self.image, [fixed], self._fill_colour(colour), cv2.LINE_AA, SHIFT)
        if self.ids is not None and self.entity:
            cv2.fillPoly(self.ids, [fixed], self.entity, cv2.LINE_8, SHIFT)
        width = self._stroke_pixels()
        if outline and width:
            cv2.polylines(self.image, [fixed], True, self._stroke_colour(colour), width, cv2.LINE_AA, SHIFT)

    def ellipse(
        self, centre: Point, radii: Point, colour: Colour, start: float = 0, end: float = 360, outline: bool = True
    ) -> None:
        """A filled ellipse, or a segment of one between two angles in degrees (0 right, 90 down)."""
        steps = np.deg2rad(np.linspace(start, end, max(8, round(abs(end - start) / 10))))
        self.polygon(_on_ellipse(centre, radii, steps), colour, outline)

    def dot(self, centre: Point, radii: Point, colour: Colour) -> None:
        """A small mark such as an eye: painted where the style paints, inked where it draws."""
        paint = self._stroke_colour(colour) if self.pen.stroke in ("ink", "own") else self._fill_colour(colour)
        points = _on_ellipse(centre, radii, np.deg2rad(np.arange(0, 360, 30)))
        cv2.fillPoly(self.image, [self._fixed(points)], paint, cv2.LINE_AA, SHIFT)

    def line(self, points: Sequence[Point] | NDArray[np.float64], colour: Colour, width: float) -> None:
        """A thick line with round ends; in outlined styles it becomes a tube."""
        fixed, pixels, stroke = [self._fixed(points)], max(1, round(width * self.side)), self._stroke_pixels()
        fill, edge = self._fill_colour(colour), self._stroke_colour(colour)
        if not stroke:
            tubes = [(fill, pixels)]
        elif not self.entity:
            tubes = [(edge, stroke)]
        elif pixels <= 2 * stroke:  # a wire: the stroke is all there is of it
            tubes = [(edge, max(stroke, pixels))]
        else:
            tubes = [(edge, pixels + stroke), (fill, pixels - stroke)]
        for paint, thickness in tubes:
            cv2.polylines(self.image, fixed, False, paint, thickness, cv2.LINE_AA, SHIFT)
        if self.ids is not None and self.entity:
            cv2.polylines(self.ids, fixed, False, self.entity, pixels, cv2.LINE_8, SHIFT)

    def shade(self, points: Sequence[Point] | NDArray[np.float64], colour: Colour) -> None:
        """A highlight or a shaded side: only where the style paints."""
        if self.pen.shade:
            cv2.fillPoly(self.image, [self._fixed(points)], self._fill_colour(colour), cv2.LINE_AA, SHIFT)

    def gradient(self, top: float, bottom: float, upper: Colour, lower: Colour) -> None:
        """A horizontal band that goes from one colour to another; paper in styles that do not paint."""
        first, last = round(top * self.side), round(bottom * self.side)
        if last <= first:
            return
        a, b = np.array(self._fill_colour(upper), float), np.array(self._fill_colour(lower), float)
        rows = a + (b - a) * np.linspace(0, 1, last - first)[:, None]
        self.image[first:last] = np.round(rows).astype(np.uint8)[:, None]

    def shadow(self, centre: Point, radii: Point, strength: float = 0.3) -> None:
        """Darken a soft ellipse on the ground; nothing in drawn styles."""
        if self.pen.stroke in ("ink", "own"):
            return
        (x, y), (rx, ry) = centre, radii
        left, right = max(0, int((x - rx) * self.side)), min(self.side, int((x + rx) * self.side) + 1)
        upper, lower = max(0, int((y - ry) * self.side)), min(self.side, int((y + ry) * self.side) + 1)
        if right <= left or lower <= upper:
            return
        u = ((np.arange(left, right) + 0.5) / self.side - x) / rx
        v = ((np.arange(upper, lower) + 0.5) / self.side - y) / ry
        weight = np.clip(1.6 * (1 - u[None, :] ** 2 - v[:, None] ** 2), 0, 1).astype(np.float32)[..., None] * strength
        patch = self.image[upper:lower, left:right]
        patch[:] = (patch * (1 - weight) + np.array((26, 20, 50), np.float32) * weight).astype(np.uint8)
