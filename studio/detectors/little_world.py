"""Depth and pose of little-world pictures, read by the heads beside the studio's own eye."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from studio.detectors.detector import Detector, Places, Posed, resized
from studio.errors import ModelUnavailable
from studio.lineage import FACTS
from studio.world.maps import depth_map
from studio.world.skeleton import Skeleton

if TYPE_CHECKING:
    from studio.perception.heads import StructureReader

HEADS = "perception-heads"
LEAST_JOINTS = 3
"""Fewer joints than this are nobody: an arm has as many."""


def _lacks(places: Places) -> ModelUnavailable | None:
    return None if (places.models / HEADS / FACTS).is_file() else ModelUnavailable("no_heads")


def _reader(places: Places) -> StructureReader:
    from studio.perception.heads import StructureReader

    return StructureReader.load(places.models)


class WorldDepth:
    """How near everything is, at 64 x 64 places."""

    def __init__(self, reader: StructureReader) -> None:
        self._reader = reader

    def map_of(self, picture: Image.Image, options: Mapping[str, Any]) -> Image.Image:
        (read,) = self._reader.read([picture])
        return Image.fromarray(depth_map(resized(read.depth, picture.size)))


class WorldPose(Posed):
    """The joints of the one person that a scene may show."""

    def __init__(self, reader: StructureReader) -> None:
        self._reader = reader

    def skeletons(self, picture: Image.Image) -> tuple[Skeleton, ...]:
        (read,) = self._reader.read([picture])
        return (Skeleton.of(read.joints, read.seen),) if np.count_nonzero(read.seen) >= LEAST_JOINTS else ()


DEPTH = Detector("world_depth", "depth", _lacks, lambda places: WorldDepth(_reader(places)))
POSE = Detector("world_pose", "pose", _lacks, lambda places: WorldPose(_reader(places)))
