"""What a ControlNet is shown in training: exact maps of scenes, spoilt on purpose.

Whoever uses a ControlNet brings edges found at other thresholds, lines drawn by hand, depth estimated by a network,
skeletons with joints missing. Free of torch, so that the processes that only render start at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from studio.train.data import kept_rows, rendered_pictures
from studio.world.maps import MapKind, as_rgb, canny_map, depth_map, draw_pose
from studio.world.pose import JOINTS
from studio.world.render import render
from studio.world.scene import scene_of_seed

Rng = np.random.Generator
HIDDEN, VISIBLE = 0.0, 1.0


def map_sources(kind: MapKind, first_seed: int, count: int, size: int) -> NDArray[Any]:
    """What the maps of `count` scenes are made from, rendered once and kept.

    canny: pictures (N, size, size, 3) uint8; depth: (N, size, size) uint8, near is 255; pose: (N, 18, 3) float32, each
    x and y in pixels and VISIBLE or HIDDEN, NaN where the scene shows nobody.
    """
    match kind:
        case "canny":
            return rendered_pictures(first_seed, count, size)
        case "depth":
            depths = partial(_depth_chunk, size=size)
            return kept_rows(f"depths-{size}", depths, first_seed, count, (size, size), np.uint8)
        case "pose":
            joints = partial(_joints_chunk, size=size)
            return kept_rows(f"joints-{size}", joints, first_seed, count, (len(JOINTS), 3), np.float32)


def _depth_chunk(first: int, count: int, size: int) -> NDArray[np.uint8]:
    return np.stack(
        [depth_map(render(scene_of_seed(seed), size).depth)[..., 0] for seed in range(first, first + count)]
    )


def _joints_chunk(first: int, count: int, size: int) -> NDArray[np.float32]:
    rows = np.full((count, len(JOINTS), 3), np.nan, np.float32)
    for row, seed in zip(rows, range(first, first + count), strict=True):
        scene = scene_of_seed(seed)
        if scene.person is not None:
            rendered = render(scene, size)
            assert rendered.joints is not None and rendered.visible is not None
            row[:, :2], row[:, 2] = rendered.joints, np.where(rendered.visible, VISIBLE, HIDDEN)
    return rows


def usable_rows(kind: MapKind, sources: NDArray[Any]) -> NDArray[np.int64]:
    """The rows that have a map of this kind: for a pose, those with a person."""
    return np.flatnonzero(~np.isnan(sources[:, 0, 0])) if kind == "pose" else np.arange(len(sources))


def exact_hint(kind: MapKind, source: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """The true map of one scene, (size, size, 3) uint8."""
    match kind:
        case "canny":
            return canny_map(source)
        case "depth":
            return as_rgb(source)
        case "pose":
            return draw_pose(source[:, :2], source[:, 2] == VISIBLE, size, size)


def spoilt_hint(kind: MapKind, source: NDArray[Any], size: int, rng: Rng) -> NDArray[np.uint8]:
    """A map of one scene as somebody might bring it, (size, size, 3) uint8."""
    return SPOIL[kind](source, size, rng)


def _spoilt_edges(picture: NDArray[Any], size: int, rng: Rng) -> NDArray[np.uint8]:
    """Other thresholds, a softer picture, thicker or grey lines, and parts rubbed out."""
    if rng.random() < 0.25:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.2))), np.uint8)
    low = float(rng.uniform(50, 140)) if rng.random() < 0.5 else 100.0
    edges = canny_map(picture, low, low * float(rng.uniform(1.6, 2.6)) if low != 100 else 200)[..., 0]
    if rng.random() < 0.25:
        edges = np.asarray(cv2.dilate(edges, np.ones((2, 2) if rng.random() < 0.6 else (3, 3), np.uint8)), np.uint8)
    if rng.random() < 0.3:
        edges = _rubbed_out(edges, rng)
    if rng.random() < 0.15:
        edges = np.asarray(cv2.GaussianBlur(edges, (0, 0), float(rng.uniform(0.4, 0.8))), np.uint8)
    return as_rgb(edges)


def _rubbed_out(edges: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """Up to four round patches without edges."""
    edges, side = edges.copy(), len(edges)
    for _ in range(int(rng.integers(1, 5))):
        x, y = (int(v) for v in rng.integers(side, size=2))
        cv2.circle(edges, (x, y), int(rng.uniform(0.05, 0.16) * side), 0, thickness=-1)
    return edges


def _spoilt_depth(depth: NDArray[Any], size: int, rng: Rng) -> NDArray[np.uint8]:
    """A coarser grid, blur, noise, and another scale of nearness, as estimators have them."""
    nearness = np.asarray(depth, np.float32) / 255
    if rng.random() < 0.4:
        cells = int(rng.integers(size // 4, size // 2 + 1))
        coarse = cv2.resize(nearness, (cells, cells), interpolation=cv2.INTER_AREA)
        nearness = np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
    if rng.random() < 0.4:
        nearness = np.asarray(cv2.GaussianBlur(nearness, (0, 0), float(rng.uniform(0.5, 2.5))), np.float32)
    if rng.random() < 0.3:
        nearness = nearness + np.float32(rng.uniform(0.005, 0.04)) * rng.standard_normal(nearness.shape, np.float32)
    if rng.random() < 0.3:
        nearness = np.clip(nearness, 0, 1) ** np.float32(rng.uniform(0.7, 1.4))
        nearness = nearness * np.float32(rng.uniform(0.85, 1.1)) + np.float32(rng.uniform(-0.05, 0.08))
    return depth_map(np.asarray(nearness, np.float32))


def _spoilt_pose(joints: NDArray[Any], size: int, rng: Rng) -> NDArray[np.uint8]:
    """Thinner or thicker limbs, joints missing, hidden ones guessed, and all a little off."""
    shown = (joints[:, 2] == VISIBLE) | (rng.random() < 0.3)
    if rng.random() < 0.4:
        shown &= rng.random(len(joints)) >= rng.uniform(0.03, 0.25)
    places = joints[:, :2]
    if rng.random() < 0.3:
        places = places + rng.normal(0, rng.uniform(0.2, 1.2), places.shape).astype(np.float32)
    return draw_pose(places, shown, size, size, stick=int(rng.choice((1, 2, 3, 4), p=(0.15, 0.5, 0.2, 0.15))))


Spoil = Callable[[NDArray[Any], int, Rng], NDArray[np.uint8]]
SPOIL = cast(dict[MapKind, Spoil], {"canny": _spoilt_edges, "depth": _spoilt_depth, "pose": _spoilt_pose})
