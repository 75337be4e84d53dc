"""The objects of the world. Each draws itself in a box: foot at (0, 0), x to the right, y upwards, larger side 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from studio.world.canvas import Canvas, Colour, Point, darker, lighter
from studio.world.scene import Thing
from studio.world.vocabulary import RGB

INK: Colour = (46, 42, 54)


class Box:
    """A canvas seen from a thing's own box."""

    def __init__(self, canvas: Canvas, thing: Thing) -> None:
        self.canvas, self.x, self.y, self.size = canvas, thing.x, thing.base_y, thing.size

    def at(self, x: float, y: float) -> Point:
        return self.x + self.size * x, self.y - self.size * y

    def polygon(self, points: Sequence[Point], colour: Colour, outline: bool = True) -> None:
        self.canvas.polygon([self.at(*p) for p in points], colour, outline)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, outline: bool = True) -> None:
        self.canvas.ellipse(self.at(x, y), (rx * self.size, ry * self.size), colour, outline=outline)

    def segment(self, x: float, y: float, rx: float, ry: float, start: float, end: float, colour: Colour) -> None:
        """Part of an ellipse; angles count anticlockwise from the right."""
        self.canvas.ellipse(self.at(x, y), (rx * self.size, ry * self.size), colour, -start, -end)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        self.canvas.line([self.at(*p) for p in points], colour, width * self.size)

    def shade(self, points: Sequence[Point], colour: Colour) -> None:
        self.canvas.shade([self.at(*p) for p in points], colour)

    def gleam(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A highlight, in painted styles."""
        steps = np.linspace(0, 2 * np.pi, 14)
        self.shade([(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in steps], colour)


def umbrella(box: Box, c: Colour) -> None:
    hook = [(0, 0.62), (0, 0.1), (0.03, 0.04), (0.08, 0.03), (0.12, 0.08)]
    box.line(hook, (92, 66, 52), 0.036)
    top, edge = 1.0, 0.52
    arc = [(-0.5 * float(np.cos(a)), edge + (top - edge) * float(np.sin(a))) for a in np.linspace(0, np.pi, 17)]
    scallops: list[Point] = []
    for i in range(4):
        right = 0.5 - 0.25 * i
        scallops += [(right - 0.06, edge + 0.05), (right - 0.19, edge + 0.05), (right - 0.25, edge)]
    box.polygon(arc + scallops[:-1], c)
    for left, right, tone in ((-0.25, 0.0, lighter(c, 0.26)), (0.25, 0.5, darker(c, 0.22))):
        panel = [(left, edge), ((left + right) / 2, edge + 0.055), (right, edge)]
        box.shade([*panel, (right * 0.72, edge + 0.3), (0, top), (left * 0.72, edge + 0.3)], tone)
    if not box.canvas.pen.shade:
        box.line([(0, top), (-0.2, edge + 0.26), (-0.25, edge + 0.02)], c, 0.012)
        box.line([(0, top), (0.2, edge + 0.26), (0.25, edge + 0.02)], c, 0.012)
    box.line([(0, top), (0, top + 0.05)], (92, 66, 52), 0.03)


def car(box: Box, c: Colour) -> None:
    rear = [(-0.5, 0.13), (-0.5, 0.27), (-0.44, 0.32), (-0.3, 0.34), (-0.2, 0.54)]
    front = [(0.14, 0.54), (0.28, 0.34), (0.44, 0.31), (0.5, 0.24), (0.5, 0.13)]
    box.polygon(rear + front, c)
    box.shade([(-0.5, 0.13), (-0.5, 0.2), (0.5, 0.2), (0.5, 0.13)], darker(c, 0.25))
    for window in (
        [(-0.23, 0.35), (-0.16, 0.49), (-0.04, 0.49), (-0.04, 0.35)],
        [(0, 0.35), (0, 0.49), (0.11, 0.49), (0.21, 0.35)],
    ):
        box.polygon(window, (190, 228, 246))
    for x in (-0.28, 0.28):
        box.ellipse(x, 0.125, 0.12, 0.12, INK)
        box.ellipse(x, 0.125, 0.05, 0.05, (206, 206, 214))
    box.ellipse(0.46, 0.25, 0.03, 0.03, (255, 240, 170), outline=False)


def ball(box: Box, c: Colour) -> None:
    box.ellipse(0, 0.42, 0.42, 0.42, c)
    underside = [(0.42 * float(np.sin(a)), 0.42 - 0.42 * float(np.cos(a))) for a in np.linspace(-1.3, 1.3, 15)]
    box.shade(underside, darker(c, 0.24))
    stripe = [(0.42 * float(np.cos(a)), 0.42 + 0.42 * float(np.sin(a))) for a in np.linspace(-0.22, 0.42, 7)]
    mirrored = [(-x, y) for x, y in reversed(stripe)]
    box.polygon(stripe + mirrored, (250, 250, 246) if c != RGB["white"] else (222, 70, 70))
    box.gleam(-0.17, 0.66, 0.075, 0.05, lighter(c, 0.75))


def house(box: Box, c: Colour) -> None:
    box.polygon([(-0.38, 0), (-0.38, 0.5), (0.38, 0.5), (0.38, 0)], c)
    box.shade([(0.2, 0), (0.2, 0.5), (0.38, 0.5), (0.38, 0)], darker(c, 0.16))
    box.polygon([(0.17, 0.6), (0.17, 0.92), (0.29, 0.92), (0.29, 0.6)], (150, 96, 76))
    box.polygon([(-0.5, 0.5), (0, 0.98), (0.5, 0.5)], (124, 66, 56))
    box.polygon([(-0.1, 0), (-0.1, 0.31), (0.1, 0.31), (0.1, 0)], (96, 62, 48))
    for x in (-0.25, 0.25):
        box.polygon([(x - 0.075, 0.22), (x - 0.075, 0.38), (x + 0.075, 0.38), (x + 0.075, 0.22)], (252, 232, 150))


def tree(box: Box, c: Colour) -> None:
    box.polygon([(-0.07, 0), (-0.05, 0.42), (0.05, 0.42), (0.07, 0)], (122, 82, 52))
    lobes = ((-0.22, 0.5, 0.2), (0.22, 0.5, 0.2), (0, 0.72, 0.28))
    for x, y, r in lobes:
        box.ellipse(x, y, r, r * 0.96, c)
    box.ellipse(0, 0.55, 0.25, 0.2, c, outline=False)
    box.gleam(-0.08, 0.8, 0.12, 0.1, lighter(c, 0.25))
    box.gleam(0.2, 0.45, 0.12, 0.07, darker(c, 0.16))


def mug(box: Box, c: Colour) -> None:
    handle = [(0.24, 0.56), (0.42, 0.55), (0.46, 0.38), (0.38, 0.22), (0.22, 0.18)]
    box.line(handle, c, 0.085)
    box.polygon([(-0.36, 0.72), (-0.32, 0.04), (-0.26, 0), (0.18, 0), (0.24, 0.04), (0.28, 0.72)], c)
    box.shade([(0.1, 0.0), (0.18, 0), (0.24, 0.04), (0.28, 0.72), (0.14, 0.72)], darker(c, 0.2))
    box.ellipse(-0.04, 0.72, 0.32, 0.085, lighter(c, 0.35))
    box.ellipse(-0.04, 0.71, 0.25, 0.055, (104, 66, 46), outline=False)


def star(box: Box, c: Colour) -> None:
    angles = np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 0.52, 0.225)
    points = [(float(r * np.cos(a)), 0.44 + float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)]
    box.polygon(points, c)
    for i in range(0, 10, 2):
        box.shade([(0, 0.44), points[i], points[(i + 1) % 10]], darker(c, 0.2))


def gift(box: Box, c: Colour) -> None:
    ribbon: Colour = (252, 236, 170) if c != RGB["yellow"] else (222, 60, 80)
    box.polygon([(-0.38, 0), (-0.38, 0.52), (0.38, 0.52), (0.38, 0)], c)
    box.shade([(0.2, 0), (0.2, 0.52), (0.38, 0.52), (0.38, 0)], darker(c, 0.2))
    box.polygon([(-0.43, 0.5), (-0.43, 0.66), (0.43, 0.66), (0.43, 0.5)], c)
    box.polygon([(-0.075, 0), (-0.075, 0.66), (0.075, 0.66), (0.075, 0)], ribbon)
    for s in (-1, 1):
        box.polygon([(0, 0.66), (s * 0.1, 0.86), (s * 0.27, 0.88), (s * 0.26, 0.72)], ribbon)


def cat(box: Box, c: Colour) -> None:
    box.line([(0.22, 0.08), (0.42, 0.12), (0.46, 0.3), (0.38, 0.44)], c, 0.085)
    box.polygon([(-0.25, 0), (-0.24, 0.24), (-0.15, 0.5), (0.13, 0.5), (0.25, 0.24), (0.27, 0)], c)
    for s in (-1, 1):
        box.polygon([(s * 0.25 - 0.03, 0.72), (s * 0.23 - 0.03, 0.99), (s * 0.03 - 0.03, 0.86)], c)
    box.ellipse(-0.03, 0.68, 0.27, 0.22, c)
    box.gleam(-0.02, 0.2, 0.13, 0.17, lighter(c, 0.4))
    for x in (-0.13, 0.07):
        box.canvas.dot(box.at(x, 0.71), (0.034 * box.size, 0.045 * box.size), INK)
    box.polygon([(-0.06, 0.63), (0, 0.63), (-0.03, 0.595)], (240, 130, 140), outline=False)


def mushroom(box: Box, c: Colour) -> None:
    stem: Colour = (248, 236, 212)
    box.polygon([(-0.15, 0), (-0.12, 0.46), (0.12, 0.46), (0.15, 0), (0.08, -0.02), (-0.08, -0.02)], stem)
    box.shade([(0.05, 0), (0.05, 0.46), (0.12, 0.46), (0.15, 0)], darker(stem, 0.18))
    box.segment(0, 0.42, 0.5, 0.46, 0, 180, c)
    dots: Colour = (252, 250, 244) if c != RGB["white"] else (222, 70, 70)
    for x, y, r in ((-0.24, 0.58, 0.075), (0.04, 0.72, 0.085), (0.28, 0.54, 0.06)):
        box.ellipse(x, y, r, r * 0.85, dots)


def rocket(box: Box, c: Colour) -> None:
    box.polygon([(-0.09, 0.1), (0, -0.02), (0.09, 0.1)], (252, 184, 60))
    for s in (-1, 1):
        box.polygon([(s * 0.14, 0.12), (s * 0.34, 0.06), (s * 0.15, 0.42)], darker(c, 0.3))
    box.polygon([(-0.16, 0.1), (-0.2, 0.45), (-0.14, 0.72), (0, 1.0), (0.14, 0.72), (0.2, 0.45), (0.16, 0.1)], c)
    box.polygon([(-0.14, 0.72), (0, 1.0), (0.14, 0.72)], lighter(c, 0.5))
    box.ellipse(0, 0.52, 0.085, 0.085, (186, 226, 246))


DRAW: dict[str, Callable[[Box, Colour], None]] = {
    "umbrella": umbrella,
    "car": car,
    "ball": ball,
    "house": house,
    "tree": tree,
    "mug": mug,
    "star": star,
    "gift": gift,
    "cat": cat,
    "mushroom": mushroom,
    "rocket": rocket,
}


def draw_thing(canvas: Canvas, thing: Thing) -> None:
    """Shadow and thing, at its place."""
    canvas.shadow((thing.x, thing.base_y), (thing.size * 0.5, thing.size * 0.09))
    DRAW[thing.kind](Box(canvas, thing), RGB[thing.colour])
