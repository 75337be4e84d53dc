"""One picture at every strength: what image to image does with it, measured against what it must do.

Three facts, each of which can fail: towards strength 0 the result is what the autoencoder makes of the picture; the
difference to the picture grows with the strength; and at strength 1 the picture is forgotten if and only if nothing
of it is left at the entry, sqrt(alpha_bar_T) = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from studio.engine.autoencoder import encoded
from studio.engine.entry import Entry, entry_of
from studio.engine.generate import decode, generate, with_models
from studio.engine.registry import Lease
from studio.errors import InvalidInput
from studio.events import Context, Event, Row, Step
from studio.types import MAX_STEPS, GenerationRequest, Scheduler, Task

if TYPE_CHECKING:
    from PIL.Image import Image

LOWEST_STRENGTH = 1 / MAX_STEPS
"""At MAX_STEPS: one step, the nearest to 0 that can be asked for."""
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
NEAR_RECONSTRUCTION = 8.0
"""Levels of 255 (root mean square) by which the lowest strength may differ from the autoencoder's reconstruction."""


@dataclass(frozen=True)
class Point:
    """One strength. to_source, to_reconstruction: root mean square differences of the result, in levels of 255."""

    strength: float
    entry: Entry
    to_source: float
    to_reconstruction: float


@dataclass(frozen=True)
class Light:
    """A fact and whether it holds here. id: under `light.` in assets/i18n; values: what its sentence names."""

    id: str
    holds: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class Strengths:
    """points: from the lowest strength to 1. exchanged: by how much the result of strength 1 changes, in levels of
    255, when the picture is exchanged for its negative. reconstruction: the autoencoder's own difference to it."""

    points: tuple[Point, ...]
    exchanged: float
    reconstruction: float

    @property
    def lights(self) -> tuple[Light, ...]:
        first, last = self.points[0], self.points[-1]
        near = {"difference": first.to_reconstruction, "tolerance": NEAR_RECONSTRUCTION}
        grown = all(low.to_source < high.to_source for low, high in pairwise(self.points))
        leak = last.entry.signal
        left = {"leak": leak, "change": self.exchanged}
        return (
            Light("reconstruction", first.to_reconstruction <= NEAR_RECONSTRUCTION, near),
            Light("growing", grown, {"low": first.to_source, "high": last.to_source}),
            Light("leak" if leak else "no_leak", (leak == 0) == (self.exchanged == 0), left),
        )


@dataclass(frozen=True)
class StrengthSweep:
    """The work of drawing one image-to-image request at every strength; `Done` carries its Strengths.

    Emits Loading, then for each picture a Step and, where it is a point, a Row with the point's numbers.
    """

    long: ClassVar[bool] = True
    request: GenerationRequest

    def run(self, context: Context) -> Strengths:
        """Raises Cancelled, GenerationFailed, ModelUnavailable, or InvalidInput for a request of another task."""
        if self.request.task is not Task.IMAGE_TO_IMAGE or self.request.init_image is None:
            raise InvalidInput("needs_image", field="init_image")
        request = replace(self.request, num_images=1)
        return with_models(request, context, lambda lease: measure(request, lease, context))


def measure(request: GenerationRequest, lease: Lease, context: Context) -> Strengths:
    """Draw a request at every strength and measure. Emits as `StrengthSweep`."""
    source = request.init_image
    assert source is not None
    with context.registry.lane:
        own = reconstruction(source, lease, request.seed)
    wishes = [replace(request, strength=LOWEST_STRENGTH, num_inference_steps=MAX_STEPS)]
    wishes += [replace(request, strength=strength) for strength in STRENGTHS if _runs(request, strength)]
    points = []
    for index, wish in enumerate(wishes, start=1):
        drawn = draw(wish, lease, context)
        entry = entry_of(lease.components, wish.scheduler, wish.num_inference_steps, wish.strength)
        points.append(Point(wish.strength, entry, difference(drawn, source), difference(drawn, own)))
        context.emit(Row({"strength": wish.strength, "to_source": points[-1].to_source, "signal": entry.signal}))
        context.emit(Step(index, len(wishes) + 1, (drawn,)))
    change = exchanged(wishes[-1], drawn, lease, context)
    context.emit(Step(len(wishes) + 1, len(wishes) + 1))
    return Strengths(tuple(points), change, difference(own, source))


def exchanged(request: GenerationRequest, drawn: Image, lease: Lease, context: Context) -> float:
    """By how much a request's result `drawn` changes, in levels of 255, when its picture is its negative."""
    assert request.init_image is not None
    other = draw(replace(request, init_image=negative(request.init_image)), lease, context)
    return difference(drawn, other)


def draw(request: GenerationRequest, lease: Lease, context: Context) -> Image:
    """A request's only picture, without a word about its steps, once those who wait have had the device."""
    context.yield_device()
    with context.registry.lane:
        return generate(request, lease, Quiet(context)).images[0]


def reconstruction(picture: Image, lease: Lease, seed: int) -> Image:
    """What the autoencoder gives back of a picture, with the noise that image to image of this seed encodes it with."""
    import torch

    view = lease.view(Task.IMAGE_TO_IMAGE, Scheduler.DDIM)
    with torch.inference_mode():
        latents = encoded(view, picture, torch.Generator("cpu").manual_seed(seed))
    return decode(view, latents)[0]


def difference(one: Image, other: Image) -> float:
    """Root mean square over all pixels and channels, in levels of 255."""
    levels = [np.asarray(picture, dtype=np.float64) for picture in (one, other)]
    return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2)))


def negative(picture: Image) -> Image:
    """Every level v as 255 - v: as far from the picture as another one can be."""
    from PIL import ImageOps

    return ImageOps.invert(picture)


def _runs(request: GenerationRequest, strength: float) -> bool:
    """Whether this strength leaves the request a step to run."""
    return int(request.num_inference_steps * strength) >= 1


@dataclass(frozen=True)
class Quiet:
    """A context that tells nothing of what runs inside, and stops when it is asked to."""

    context: Context

    @property
    def registry(self) -> Any:
        return self.context.registry

    def emit(self, event: Event) -> None:
        """Nothing: a sweep's own steps are whole pictures."""

    def check_cancelled(self) -> None:
        self.context.check_cancelled()

    def yield_device(self) -> None:
        self.context.yield_device()
