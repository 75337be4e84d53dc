"""Edges by John Canny's algorithm, as controlnet_aux's CannyDetector calls it; importing that would cost seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from studio.detectors.detector import Detector
from studio.types import Param
from studio.world.maps import CANNY_HIGH, CANNY_LOW, canny_map


class Canny:
    """A gradient above `high` is an edge; one above `low` is, where it continues one."""

    def map_of(self, picture: Image.Image, options: Mapping[str, Any]) -> Image.Image:
        return Image.fromarray(canny_map(np.asarray(picture), options["low"], options["high"]))


DETECTOR = Detector(
    "canny",
    "canny",
    lacks=lambda places: None,
    open=lambda places: Canny(),
    params=(Param("low", "int", CANNY_LOW, 0, 255, 1), Param("high", "int", CANNY_HIGH, 0, 255, 1)),
)
