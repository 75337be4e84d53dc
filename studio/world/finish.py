"""The last step of each style: what happens to the drawn canvas on its way to the picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Finish = Callable[[Image, int, int], Image]
NOISE_FIELDS = 64
KEPT_FIELDS = 4 * NOISE_FIELDS  # all that one size needs


def finish(canvas: Image, style: str, variant: int, size: int) -> Image:
    """canvas: (S, S, 3) uint8 with S >= size; returns (size, size, 3) uint8. Deterministic in its arguments."""
    return FINISHES[style](canvas, variant, size)


def _shrink(image: Image, size: int) -> Image:
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)


@lru_cache(KEPT_FIELDS)
def _noise(which: int, cells: int, size: int) -> NDArray[np.float32]:
    """Smooth noise in [-1, 1], one of NOISE_FIELDS fields. (size, size) float32."""
    coarse = np.random.default_rng(7_000 + which).uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


@lru_cache(KEPT_FIELDS)
def _wobble(which: int, size: int, amplitude: float, cells: int) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Fixed-point maps for cv2.remap that move every point a little. amplitude: in pictures."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    shift = amplitude * size
    first, second = cv2.convertMaps(
        x + shift * _noise(which, cells, size), y + shift * _noise(which + 101, cells, size), cv2.CV_16SC2
    )
    return np.asarray(first, np.int16), np.asarray(second, np.uint16)


def _moved(image: Image, variant: int, amplitude: float, cells: int) -> Image:
    first, second = _wobble(variant % NOISE_FIELDS, len(image), amplitude, cells)
    return np.asarray(cv2.remap(image, first, second, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _flat(canvas: Image, variant: int, size: int) -> Image:
    return _shrink(canvas, size)


def _watercolour(canvas: Image, variant: int, size: int) -> Image:
    """Soft wobbly washes that are darker at their edges and uneven inside."""
    image = _moved(_shrink(canvas, size), variant, 0.009, 12)
    smooth = cv2.medianBlur(image, 3 if size < 96 else 5)
    wide = cv2.GaussianBlur(smooth, (0, 0), size / 40)
    edges = cv2.addWeighted(smooth, 1.35, wide, -0.35, 4)
    wash = 1.0 + 0.085 * _noise((variant + 13) % NOISE_FIELDS, 5, size)[..., None]
    return np.asarray(np.clip(255 - (255 - edges.astype(np.float32)) * wash, 0, 255), np.uint8)


def _pixel(canvas: Image, variant: int, size: int) -> Image:
    """32 x 32 large pixels of few tones."""
    small = _shrink(canvas, 32)
    toned = (np.round(small.astype(np.float32) / 255 * 7) / 7 * 255).astype(np.uint8)
    return np.asarray(cv2.resize(toned, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)


def _neon(canvas: Image, variant: int, size: int) -> Image:
    """Lines that glow."""
    image = _shrink(canvas, size)
    quarter = _shrink(canvas, max(16, size // 4))
    blurred = cv2.GaussianBlur(quarter, (0, 0), len(quarter) / 20)
    glow = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.addWeighted(image, 1.0, glow, 0.75, -12), np.uint8)


@cache
def _hatching(size: int) -> NDArray[np.float32]:
    """Diagonal strokes, (size, size, 1) in [0, 1]: where wax did not reach the paper."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    bent = _noise(5, 6, size) * 0.035
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * 13 * (x + 0.55 * y + bent))
    return np.asarray(np.clip(wave * 1.5 - 0.75, 0, 1)[..., None], np.float32)


def _crayon(canvas: Image, variant: int, size: int) -> Image:
    """Wax strokes with paper between them, and a shaky hand."""
    image = _moved(_shrink(canvas, size), variant, 0.010, 12).astype(np.float32)
    paper = np.array((250, 244, 228), np.float32)
    return np.asarray(image + (paper - image) * 0.30 * _hatching(size), np.uint8)


def _blueprint(canvas: Image, variant: int, size: int) -> Image:
    image = _shrink(canvas, size).astype(np.int16)
    step = max(4, size // 16)
    image[::step] += 10
    image[:, ::step] += 10
    return np.clip(image, 0, 255).astype(np.uint8)


def _pop_art(canvas: Image, variant: int, size: int) -> Image:
    """Few loud tones, and dots in the light ones."""
    image = _shrink(canvas, size).astype(np.float32)
    loud = np.clip((image - 128) * 1.25 + 134, 0, 255)
    toned = np.round(loud / 255 * 4) / 4 * 255
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size * 22
    dots = ((x - np.round(x)) ** 2 + (y - np.round(y)) ** 2 < 0.085)[..., None]
    light = toned.mean(axis=2, keepdims=True) > 150
    return np.asarray(np.where(dots & light, toned * 0.82, toned), np.uint8)


FINISHES: dict[str, Finish] = {
    "flat": _flat,
    "watercolour": _watercolour,
    "pixel": _pixel,
    "line": _flat,
    "neon": _neon,
    "crayon": _crayon,
    "blueprint": _blueprint,
    "pop_art": _pop_art,
}
