"""What finds the map of a kind in a picture, and what it needs to do so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.errors import InvalidInput, ModelUnavailable
from studio.types import Param
from studio.world.maps import MapKind
from studio.world.skeleton import Skeleton, draw_skeletons

FIELD = "detector"


class Finds(Protocol):
    """An opened detector. picture: RGB; options: valid, every param of it; the map is RGB and of the same size."""

    def map_of(self, picture: Image.Image, options: Mapping[str, Any]) -> Image.Image: ...


@dataclass(frozen=True)
class Places:
    """Where weights are looked for. models: the studio's folder; hub_cache: this person's own where it is None."""

    models: Path
    hub_cache: Path | None = None


@dataclass(frozen=True)
class Detector:
    """One way to a map. id: also of its label, `detector.<id>`.

    lacks(places): why it cannot be opened, looked up without reading weights, or None. open(places): what finds maps;
    raises ModelUnavailable.
    """

    id: str
    kind: MapKind
    lacks: Callable[[Places], ModelUnavailable | None]
    open: Callable[[Places], Finds]
    params: tuple[Param, ...] = ()

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All params' values. Raises InvalidInput for an option that it does not know, or one out of its bounds."""
        known = {param.name: param for param in self.params}
        for name, value in options.items():
            if name not in known:
                raise InvalidInput("not_a_choice", field=FIELD, value=name[:40], choices=", ".join(known) or "-")
            low, high = known[name].minimum, known[name].maximum
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:  # type: ignore[operator]
                raise InvalidInput("bad_number", field=name, minimum=low, maximum=high, value=str(value)[:40])
        return {name: options.get(name, param.default) for name, param in known.items()}


class Posed(ABC):
    """A detector of poses: it draws the skeletons that it finds."""

    @abstractmethod
    def skeletons(self, picture: Image.Image) -> tuple[Skeleton, ...]:
        """Everybody in a picture (RGB)."""

    def map_of(self, picture: Image.Image, options: Mapping[str, Any]) -> Image.Image:
        """The skeletons on black. Raises InvalidInput where nobody is seen."""
        found = self.skeletons(picture)
        if not found:
            raise InvalidInput("nobody_found", field=FIELD)
        return draw_skeletons(found, *picture.size)


def resized(nearness: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A depth (h, w) at the width and height of a picture: (H, W)."""
    return np.asarray(cv2.resize(nearness, size, interpolation=cv2.INTER_LINEAR), np.float32)
