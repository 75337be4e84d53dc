"""One picture at several scales of what steers it: the same noise, and more and more of one control."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from studio.engine.generate import with_models
from studio.engine.strengths import draw
from studio.errors import InvalidInput
from studio.events import Context, Row, Step
from studio.types import GenerationRequest

if TYPE_CHECKING:
    from PIL.Image import Image

SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
Measures = Callable[["Image"], Mapping[str, float | None]]


def _nothing(picture: Image) -> Mapping[str, float | None]:
    return {}


@dataclass(frozen=True)
class ScalePoint:
    """One scale, its picture, and what was measured of it."""

    scale: float
    picture: Image = field(repr=False)
    measured: Mapping[str, float | None]


@dataclass(frozen=True)
class ScaleSweep:
    """The work of drawing one request at several scales of its control number `control`; `Done` carries ScalePoints.

    measure: numbers of a picture by name. Emits Loading, then for each scale a Row with the scale and those numbers,
    and a Step with the picture.
    """

    long: ClassVar[bool] = True
    request: GenerationRequest
    control: int = 0
    scales: tuple[float, ...] = SCALES
    measure: Measures = field(default=_nothing, repr=False)

    def run(self, context: Context) -> tuple[ScalePoint, ...]:
        """Raises Cancelled, GenerationFailed, ModelUnavailable, or InvalidInput for a request without this control."""
        if not 0 <= self.control < len(self.request.controls):
            raise InvalidInput("nothing_to_sweep", field="controls")
        points = []
        for index, scale in enumerate(self.scales, start=1):
            wish = self._at(scale)
            picture = with_models(wish, context, partial(draw, wish, context=context))
            points.append(ScalePoint(scale, picture, self.measure(picture)))
            context.emit(Row({"scale": scale, **points[-1].measured}))
            context.emit(Step(index, len(self.scales), (picture,)))
        return tuple(points)

    def _at(self, scale: float) -> GenerationRequest:
        """The request for one picture with another scale."""
        uses = list(self.request.controls)
        uses[self.control] = replace(uses[self.control], scale=scale)
        return replace(self.request, num_images=1, controls=tuple(uses))
