"""The seven places of the world. Each draws itself on a canvas, and says where its horizon lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from studio.world.canvas import Canvas, Colour, Point

Draw = Callable[[Canvas, np.random.Generator], float]


def _hills(rng: np.random.Generator, base: float, height: float, waves: float) -> NDArray[np.float64]:
    """A rolling line from the left to the right edge, closed below."""
    x = np.linspace(-0.02, 1.02, 25)
    phase, other = rng.uniform(0, 2 * np.pi, 2)
    y = base - height * (0.5 + 0.35 * np.sin(waves * 2 * np.pi * x + phase) + 0.15 * np.sin(5 * np.pi * x + other))
    return np.concatenate([np.stack([x, y], 1), [[1.02, 1.02], [-0.02, 1.02]]])


def _rectangle(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _cloud(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    steps = np.linspace(0, np.pi, 13)
    top = [(x - size * np.cos(a), y - size * (0.28 * np.sin(a) + 0.1 * abs(np.sin(3 * a)))) for a in steps]
    canvas.polygon(top, colour)


def _sun(canvas: Canvas, rng: np.random.Generator, y: float, radius: float, colour: Colour) -> None:
    canvas.ellipse((float(rng.uniform(0.12, 0.88)), y), (radius, radius), colour)


def _clouds(canvas: Canvas, rng: np.random.Generator, count: int) -> None:
    start = rng.uniform(0, 0.5)
    for i in range(count):
        _cloud(canvas, (start + 0.5 * i) % 1.0, float(rng.uniform(0.12, 0.22)), 0.11, (250, 251, 255))


def meadow(canvas: Canvas, rng: np.random.Generator) -> float:
    horizon = float(rng.uniform(0.5, 0.56))
    canvas.gradient(0, 0.75, (92, 172, 240), (216, 240, 252))
    _sun(canvas, rng, 0.13, 0.065, (255, 220, 84))
    _clouds(canvas, rng, 2)
    canvas.polygon(_hills(rng, horizon + 0.02, 0.16, 0.8), (122, 190, 104))
    canvas.polygon(_hills(rng, horizon + 0.1, 0.08, 0.6), (98, 176, 82))
    for x in rng.uniform(0.04, 0.96, 5):
        y = float(rng.uniform(horizon + 0.16, 0.97))
        canvas.ellipse((float(x), y), (0.013, 0.013), (255, 246, 200), outline=False)
    return horizon


def beach(canvas: Canvas, rng: np.random.Generator) -> float:
    horizon = float(rng.uniform(0.42, 0.48))
    canvas.gradient(0, horizon, (84, 184, 244), (206, 240, 250))
    _sun(canvas, rng, 0.14, 0.065, (255, 226, 96))
    _clouds(canvas, rng, 1)
    canvas.polygon(_rectangle(-0.02, horizon, 1.02, 0.75), (34, 140, 190))
    canvas.shade(_rectangle(0, horizon, 1, horizon + 0.05), (24, 112, 170))
    phase = float(rng.uniform(0, 6.28))
    x = np.linspace(-0.02, 1.02, 17)
    shore = horizon + 0.15 + 0.012 * np.sin(2 * np.pi * 1.5 * x + phase)
    foam = np.concatenate([np.stack([x, shore - 0.022], 1), [[1.02, 1.02], [-0.02, 1.02]]])
    canvas.polygon(foam, (240, 250, 250), outline=False)
    canvas.polygon(np.concatenate([np.stack([x, shore], 1), [[1.02, 1.02], [-0.02, 1.02]]]), (244, 216, 158))
    return horizon


def snow(canvas: Canvas, rng: np.random.Generator) -> float:
    horizon = float(rng.uniform(0.5, 0.56))
    canvas.gradient(0, horizon, (150, 176, 218), (226, 234, 246))
    for x in (rng.uniform(0.1, 0.25), rng.uniform(0.42, 0.58), rng.uniform(0.76, 0.9)):
        height, width = float(rng.uniform(0.2, 0.3)), 0.24
        peak, left, right = (float(x), horizon - height), float(x) - width, float(x) + width
        canvas.polygon([(left, horizon + 0.02), peak, (right, horizon + 0.02)], (118, 138, 178))
        cap = 0.36
        zigzag: list[Point] = [(peak[0] - width * cap, peak[1] + height * cap)]
        zigzag += [(peak[0] - 0.03, peak[1] + height * 0.27), (peak[0], peak[1] + height * 0.4)]
        zigzag += [(peak[0] + 0.035, peak[1] + height * 0.28), (peak[0] + width * cap, peak[1] + height * cap), peak]
        canvas.polygon(zigzag, (250, 252, 255), outline=False)
    canvas.polygon(_hills(rng, horizon + 0.06, 0.07, 0.7), (244, 248, 254))
    canvas.shade(_hills(rng, 0.92, 0.06, 0.6), (228, 236, 248))
    return horizon


def desert(canvas: Canvas, rng: np.random.Generator) -> float:
    horizon = float(rng.uniform(0.5, 0.56))
    canvas.gradient(0, 0.7, (246, 150, 92), (255, 224, 160))
    _sun(canvas, rng, float(rng.uniform(0.16, 0.28)), 0.085, (255, 240, 190))
    canvas.polygon(_hills(rng, horizon + 0.02, 0.1, 1.0), (226, 152, 84))
    canvas.polygon(_hills(rng, horizon + 0.12, 0.1, 0.6), (238, 176, 102))
    x, y = (float(rng.uniform(0.03, 0.1)), horizon + 0.13) if rng.random() < 0.5 else (0.93, horizon + 0.13)
    for arm in (((x, y), (x, y - 0.2)), ((x, y - 0.07), (x + 0.045, y - 0.07), (x + 0.045, y - 0.14))):
        canvas.line(arm, (66, 128, 84), 0.026)
    canvas.line(((x, y - 0.1), (x - 0.04, y - 0.1), (x - 0.04, y - 0.15)), (66, 128, 84), 0.024)
    return horizon


def city(canvas: Canvas, rng: np.random.Generator) -> float:
    horizon = 0.62
    canvas.gradient(0, horizon, (22, 20, 64), (78, 58, 122))
    _sun(canvas, rng, 0.13, 0.06, (250, 246, 214))
    left = -0.02
    while left < 1.0:
        width, height = float(rng.uniform(0.15, 0.22)), float(rng.uniform(0.22, 0.42))
        tower: Colour = (46, 42, 86) if rng.random() < 0.5 else (38, 34, 74)
        top = horizon - height
        canvas.polygon([(left, horizon), (left, top), (left + width, top), (left + width, horizon)], tower)
        for column in (0.3, 0.7):
            for row in range(int(height / 0.09)):
                if rng.random() < 0.7:
                    x, y = left + width * column, top + 0.05 + 0.09 * row
                    pane = _rectangle(x - 0.02, y - 0.02, x + 0.02, y + 0.02)
                    canvas.polygon(pane, (252, 214, 110), outline=canvas.pen.stroke == "own")
        left += width + 0.012
    canvas.gradient(horizon, 1, (52, 50, 74), (38, 36, 58))
    canvas.polygon(_rectangle(-0.02, horizon, 1.02, horizon + 0.045), (92, 90, 116))
    for x in (0.08, 0.42, 0.76):
        canvas.polygon([(x, 0.86), (x + 0.15, 0.86), (x + 0.14, 0.89), (x - 0.012, 0.89)], (226, 206, 120))
    return horizon


def room(canvas: Canvas, rng: np.random.Generator) -> float:
    horizon = float(rng.uniform(0.6, 0.65))
    wall: Colour = ((228, 216, 196), (206, 220, 206), (206, 214, 232))[int(rng.integers(3))]
    canvas.gradient(0, horizon, wall, wall)
    x, y, w, h = float(rng.uniform(0.1, 0.62)), 0.1, 0.27, 0.27
    canvas.polygon(_rectangle(x - 0.02, y - 0.02, x + w + 0.02, y + h + 0.02), (250, 250, 248))
    for column in (0.0, 0.53):
        for row in (0.0, 0.53):
            a, b = x + w * column, y + h * row
            canvas.polygon(_rectangle(a, b, a + w * 0.47, b + h * 0.47), (142, 208, 246))
    canvas.gradient(horizon, 1, (182, 128, 84), (150, 100, 64))
    for x0 in np.linspace(-0.5, 1.5, 9):
        canvas.line([(0.5 + (x0 - 0.5) * 0.62, horizon), (0.5 + (x0 - 0.5) * 1.5, 1.0)], (134, 88, 56), 0.006)
    canvas.polygon(_rectangle(-0.02, horizon - 0.03, 1.02, horizon), (250, 248, 242))
    return horizon


def forest(canvas: Canvas, rng: np.random.Generator) -> float:
    horizon = float(rng.uniform(0.6, 0.64))
    canvas.gradient(0, 0.8, (150, 206, 196), (214, 236, 208))
    for row, colour in enumerate(((78, 142, 118), (44, 108, 82))):
        offset = float(rng.uniform(0, 0.2))
        for i in range(5):
            x = offset + 0.24 * i - 0.08 + 0.1 * row
            height, width = float(rng.uniform(0.36, 0.48)) - 0.06 * (1 - row), 0.1
            foot = horizon + 0.03
            for k in range(3):
                level = foot - height * 0.27 * k
                half = width * (1 - 0.24 * k)
                canvas.polygon([(x - half, level), (x, level - height * 0.45), (x + half, level)], colour)
    canvas.polygon(_hills(rng, horizon + 0.05, 0.05, 0.8), (70, 122, 66))
    canvas.shade(_hills(rng, 0.93, 0.05, 0.7), (58, 108, 58))
    return horizon


DRAW: dict[str, Draw] = {
    "meadow": meadow,
    "beach": beach,
    "snow": snow,
    "desert": desert,
    "city": city,
    "room": room,
    "forest": forest,
}
