"""From a picture to the map that steers a ControlNet: one file per detector or two, and one line of it here."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from studio.detectors import canny, little_world, photographs
from studio.detectors.detector import FIELD, Detector, Finds, Places, Posed
from studio.errors import InvalidInput, ModelUnavailable
from studio.world.maps import MapKind
from studio.world.skeleton import Skeleton

DETECTORS: tuple[Detector, ...] = (
    canny.DETECTOR,
    little_world.DEPTH,
    photographs.DEPTH,
    photographs.MIDAS,
    photographs.ZOE,
    little_world.POSE,
    photographs.OPENPOSE,
)


class Detectors:
    """The detectors of a studio. Each is opened when it is first used, and then kept; threads take turns with it.

    models: the studio's folder of models; hub_cache: this person's own where it is None.
    """

    def __init__(self, models: Path, hub_cache: Path | None = None, detectors: Sequence[Detector] = DETECTORS) -> None:
        self._places = Places(models, hub_cache)
        self._known = {one.id: one for one in detectors}
        self._opened: dict[str, Finds] = {}
        self._lock = threading.Lock()

    def of(self, kind: MapKind) -> tuple[Detector, ...]:
        """Those that find such maps, the one for the little world first."""
        return tuple(one for one in self._known.values() if one.kind == kind)

    def problem(self, detector_id: str) -> ModelUnavailable | None:
        """Why a detector cannot be used: which weights it needs, and where they go. Reads no weights."""
        return self._detector(detector_id).lacks(self._places)

    def detect(self, detector_id: str, picture: Image.Image, **options: Any) -> Image.Image:
        """The map of a picture, RGB and of its size.

        Raises InvalidInput for a detector or an option that is not known or out of its bounds, and for a picture
        without a person where poses are looked for; ModelUnavailable where weights are missing.
        """
        checked = self._detector(detector_id).checked(options)
        with self._lock:
            return self._open(detector_id).map_of(picture.convert("RGB"), checked)

    def skeletons(self, detector_id: str, picture: Image.Image) -> tuple[Skeleton, ...]:
        """Everybody whom a detector of poses sees. Raises as `detect`, but not for a picture without a person."""
        with self._lock:
            finds = self._open(detector_id)
            if not isinstance(finds, Posed):
                poses = ", ".join(one.id for one in self.of("pose"))
                raise InvalidInput("not_a_choice", field=FIELD, value=detector_id, choices=poses)
            return finds.skeletons(picture.convert("RGB"))

    def _detector(self, detector_id: str) -> Detector:
        if detector_id not in self._known:
            choices = ", ".join(self._known)
            raise InvalidInput("not_a_choice", field=FIELD, value=str(detector_id)[:40], choices=choices)
        return self._known[detector_id]

    def _open(self, detector_id: str) -> Finds:
        detector = self._detector(detector_id)
        if detector_id not in self._opened:
            self._opened[detector_id] = detector.open(self._places)
        return self._opened[detector_id]
