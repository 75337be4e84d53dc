"""Guidance on real text to image: what it gives in obedience and takes in diversity, gamma by gamma.

The same noise at every gamma, the same sampler, few steps: only gamma differs between two points of the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from studio.engine.generate import with_models
from studio.engine.latent_model import LatentModel
from studio.engine.lease import Lease
from studio.engine.lora_tags import with_loras
from studio.errors import InvalidInput
from studio.events import Context, Row, Step
from studio.types import GenerationRequest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

GAMMAS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
PICTURES, STEPS = 8, 10


class Eye(Protocol):
    """Whoever sees whether pictures show what their prompt asks for, and has features of pictures."""

    def obedience(self, prompt: str, pictures: Sequence[Image]) -> Sequence[Sequence[Any]]: ...

    def read(self, pictures: Sequence[Image]) -> Any: ...


@dataclass(frozen=True)
class GuidancePoint:
    """One gamma. accuracy: the share of the prompt's attributes that its pictures show; diversity: the mean distance
    between two of them in the eye's features; pictures: of the seeds in their order."""

    gamma: float
    accuracy: float
    diversity: float
    pictures: tuple[Image, ...] = field(repr=False)


@dataclass(frozen=True)
class GuidanceSweep:
    """The work of drawing one prompt at every gamma; `Done` carries its GuidancePoints.

    Emits Loading, then a Step for each step of the sampler, and after each gamma a Row of the points so far.
    """

    long: ClassVar[bool] = True
    request: GenerationRequest
    eye: Eye = field(repr=False)
    gammas: tuple[float, ...] = GAMMAS
    count: int = PICTURES
    steps: int = STEPS

    def run(self, context: Context) -> tuple[GuidancePoint, ...]:
        """Raises Cancelled, ModelUnavailable, or InvalidInput for a prompt that names nothing the eye can see."""
        from PIL import Image

        request = with_loras(self.request, context.registry.specs)
        if not self.eye.obedience(request.prompt, [Image.new("RGB", (32, 32))])[0]:
            raise InvalidInput("names_nothing", field="prompt")
        return with_models(self.request, context, lambda lease: swept(self, request, lease, context))


def swept(wish: GuidanceSweep, request: GenerationRequest, lease: Lease, context: Context) -> tuple[GuidancePoint, ...]:
    """Draw and measure. request: without its LoRAs' tags. Emits as `GuidanceSweep`."""
    model = LatentModel.of(lease, request.width)
    points: list[GuidancePoint] = []
    for index, gamma in enumerate(wish.gammas):
        latents = drawn(wish, model, request, gamma, context, index * wish.steps)
        context.yield_device()
        with context.registry.lane:
            pictures = model.pictures(latents)
        marks = [mark for one in wish.eye.obedience(request.prompt, pictures) for mark in one]
        accuracy = sum(mark.holds for mark in marks) / len(marks)
        points.append(GuidancePoint(gamma, accuracy, spread(wish.eye.read(pictures).features), pictures))
        context.emit(Row({"points": tuple(points), "total": len(wish.gammas)}))
    return tuple(points)


def drawn(
    wish: GuidanceSweep, model: LatentModel, request: GenerationRequest, gamma: float, context: Context, done: int
) -> Tensor:
    """Latents of all pictures at one gamma, by DDIM. done: how many steps came before."""
    import torch

    from studio.diffusion.samplers import ddim
    from studio.diffusion.walk import spaced

    x, total = model.noise(wish.count, request.seed), len(wish.gammas) * wish.steps
    walk = ddim(model.denoiser(request.prompt, gamma), x, spaced(model.schedule.T, wish.steps), model.schedule)
    for index in range(wish.steps):
        context.check_cancelled()
        context.yield_device()
        with context.registry.lane, torch.inference_mode():
            x = next(walk).next
        context.emit(Step(done + index + 1, total))
    return x


def spread(features: Tensor) -> float:
    """The mean distance between two different rows. features: (N, D), N > 1"""
    import torch

    return float(torch.pdist(features.double()).mean())
