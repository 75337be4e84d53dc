"""How far one picture follows one map, whatever drew the map: what the page says beside a steered picture.

Of a scene that is known more can be said (`obedience.py`); here the map is all there is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.perception.agreement import body_height, edge_f1, joints_in_place, rank_correlation
from studio.perception.structure import CELLS
from studio.world.maps import MapKind, canny_map
from studio.world.skeleton import skeleton_in

if TYPE_CHECKING:
    from studio.perception.heads import Structure, StructureReader

CEILINGS: dict[MapKind, str] = {"depth": "depth_order_given_back", "pose": "joints_in_place_given_back"}
"""What the heads' training measured of true renders that an autoencoder gave back: no drawn picture does better."""
DRAWN = 127
"""From this level on a pixel of a map of edges is on an edge."""
STANDS_OUT = 0.05
"""A place is of a thing where its depth differs so much from the middle of its row, along which ground is equal."""
LEAST_CELLS = 16


@dataclass(frozen=True)
class Following:
    """value: of the picture, 0 to 1 (depth: -1 to 1); baseline: of the one drawn without the map, None without one;
    ceiling: the most that can be expected."""

    value: float
    baseline: float | None
    ceiling: float

    @property
    def gain(self) -> float | None:
        """(value - baseline) / (ceiling - baseline), the share of the way that the map has led."""
        if self.baseline is None or self.ceiling <= self.baseline:
            return None
        return (self.value - self.baseline) / (self.ceiling - self.baseline)


class Follower:
    """Measures pictures against maps. models: the folder of the heads, which are opened when they are first needed."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._reader: StructureReader | None = None

    def follow(
        self, kind: MapKind, wished: Image.Image, picture: Image.Image, without: Image.Image | None = None
    ) -> Following | None:
        """How far a picture follows its map. without: the picture of the same noise that no map has steered.

        None where the map shows too little to measure. Raises ModelUnavailable where depth or pose have no heads.
        """
        pictures = [one for one in (picture, without) if one is not None]
        if kind == "canny":
            edges = (np.asarray(wished.convert("L")) > DRAWN).astype(np.uint8)
            ceiling, values = 1.0, [edge_f1(_edges(one, wished.size), edges) for one in pictures if edges.any()]
        else:
            with self._lock:
                reader = self._opened()
                read, ceiling = reader.read(pictures), reader.ceilings[CEILINGS[kind]]
            found = (_depth(one, wished) if kind == "depth" else _joints(one, wished) for one in read)
            values = [value for value in found if value is not None]
        return Following(values[0], values[1] if without is not None else None, ceiling) if values else None

    def _opened(self) -> StructureReader:
        if self._reader is None:
            from studio.perception.heads import StructureReader

            self._reader = StructureReader.load(self._models)
        return self._reader


def _edges(picture: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return canny_map(np.asarray(picture.convert("RGB").resize(size)))[..., 0]


def _depth(read: Structure, wished: Image.Image) -> float | None:
    """Order of depths where the map shows things: the ramp of the ground would be too easy."""
    grey = np.asarray(wished.convert("L"), np.float32) / 255
    true = np.asarray(cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float32)
    things = np.abs(true - np.median(true, axis=1, keepdims=True)) > STANDS_OUT
    if np.count_nonzero(things) < LEAST_CELLS:
        things = np.ones_like(things)
    return rank_correlation(read.depth, true, things) if true.min() < true.max() else None


def _joints(read: Structure, wished: Image.Image) -> float | None:
    """Share of the drawn joints that are in their places."""
    one = skeleton_in(wished)
    shown = np.array([joint is not None for joint in one.joints])
    joints = np.array([joint or (0.0, 0.0) for joint in one.joints], np.float64)
    height = body_height(joints, shown)
    if height is None:
        return None
    return float(joints_in_place(read.joints, read.seen, joints, shown, height).mean())
