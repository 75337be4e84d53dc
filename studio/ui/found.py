"""Where the map of a control comes from: a detector looks at a picture, the picture is a map already, or the little
world tells the exact map of a scene that it has rendered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from studio.engine.pictures import fitted, open_picture
from studio.types import Fit
from studio.world.caption import caption
from studio.world.maps import MapKind, true_map
from studio.world.render import Rendered, render
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, scene_of_seed
from studio.world.skeleton import Skeleton, draw_skeletons

if TYPE_CHECKING:
    from studio.build import Studio

OWN, TRUE = "own", "true"
"""Ways to a map that are no detectors: the picture is one, and the scene's exact one."""
MIN_SCENE_SIDE, MAX_SCENE_SIDE = 32, 512
"""In pixels: of what the little world renders."""
Size = tuple[int, int]


@dataclass(frozen=True)
class Wanted:
    """Which map is wanted. way: a detector's id, OWN or TRUE; scene: the seed of a rendered one; size: of the map."""

    kind: MapKind
    way: str
    scene: int | None
    size: Size
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """A map, RGB of the size that was wanted; skeletons: what it draws, where it was made of some."""

    map: Image.Image
    skeletons: tuple[Skeleton, ...] = ()


def find_map(studio: Studio, wanted: Wanted, data: bytes) -> Found:
    """The map of a picture's file. Raises InvalidInput, ModelUnavailable, or StudioError as the detectors do."""
    if wanted.way == TRUE and wanted.scene is not None:
        return true_map_of(wanted.kind, wanted.scene, wanted.size)
    picture = fitted(open_picture(data, "map").image, wanted.size, Fit.CROP)
    if wanted.way == OWN:
        return Found(picture)
    if wanted.kind == "pose":
        skeletons = studio.detectors.skeletons(wanted.way, picture)
        return Found(draw_skeletons(skeletons, *wanted.size), skeletons)
    return Found(studio.detectors.detect(wanted.way, picture, **wanted.options))


def true_map_of(kind: MapKind, seed: int, size: Size) -> Found:
    """The exact map of a scene, cut to a size as its picture is."""
    rendered = render(scene_of_seed(seed), side_of(size))
    if kind == "pose":
        skeletons = _skeletons(rendered, size)
        return Found(draw_skeletons(skeletons, *size), skeletons)
    return Found(fitted(Image.fromarray(true_map(kind, rendered)), size, Fit.CROP))


def _skeletons(rendered: Rendered, size: Size) -> tuple[Skeleton, ...]:
    """Who is in a scene; its square picture is cut in the middle."""
    if rendered.joints is None or rendered.visible is None:
        return ()
    longer, sides = max(size), np.array(size)
    places = rendered.joints / len(rendered.image) * longer  # (18, 2) in pixels of the square
    return (Skeleton.of((places - (longer - sides) / 2) / sides, rendered.visible),)


def new_scene(kind: MapKind, size: Size, language: str) -> tuple[int, Image.Image, str]:
    """The seed of a scene that has such a map, its picture, and what it shows."""
    rng = np.random.default_rng()
    seed, scene = _drawn(rng)
    while kind == "pose" and scene.person is None:
        seed, scene = _drawn(rng)
    picture = Image.fromarray(render(scene, side_of(size)).image)
    return seed, picture, caption(scene, rng, language, complete=True)


def _drawn(rng: np.random.Generator) -> tuple[int, Scene]:
    seed = FIRST_HELD_OUT_SEED + int(rng.integers(FIRST_HELD_OUT_SEED))
    return seed, scene_of_seed(seed)


def side_of(size: Size) -> int:
    """Of the scene that is rendered for a picture of this size, in pixels."""
    return min(MAX_SCENE_SIDE, max(MIN_SCENE_SIDE, *size))
