"""How far pictures follow the scene whose map steered them: one number a picture, by the kind of the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from studio.perception.agreement import edge_f1, joints_in_place, rank_correlation
from studio.perception.structure import true_structure
from studio.world.maps import MapKind, canny_map
from studio.world.render import render
from studio.world.scene import Scene

if TYPE_CHECKING:
    from studio.perception.heads import Structure


class Reader(Protocol):
    """Whoever reads depth and joints off pictures."""

    def read(self, pictures: Sequence[Image.Image]) -> list[Structure]: ...


def obedience(
    kind: MapKind, pictures: Sequence[Image.Image], scenes: Sequence[Scene], reader: Reader | None
) -> list[float]:
    """What each picture keeps of its scene.

    canny: F1 of its edges within 2 pixels of the render's; depth: rank correlation inside of things and people; pose:
    the share of visible joints within 0.1 of the person's height. Pictures are square; reader: None for canny alone.
    """
    if kind == "canny":
        return [_edges(picture, scene) for picture, scene in zip(pictures, scenes, strict=True)]
    assert reader is not None
    found = zip(reader.read(pictures), scenes, strict=True)
    return [_depth(read, scene) if kind == "depth" else _joints(read, scene) for read, scene in found]


def _edges(picture: Image.Image, scene: Scene) -> float:
    pixels = np.asarray(picture.convert("RGB"))
    true = canny_map(render(scene, len(pixels)).image)
    return edge_f1(canny_map(pixels)[..., 0], true[..., 0])


def _depth(read: Structure, scene: Scene) -> float:
    true = true_structure(scene)
    return rank_correlation(read.depth, true["depth"], true["inside"])


def _joints(read: Structure, scene: Scene) -> float:
    true = true_structure(scene)
    placed = joints_in_place(read.joints, read.seen, true["joints"], true["visible"], float(true["height"]))
    return float(placed.mean()) if placed.size else 0.0
