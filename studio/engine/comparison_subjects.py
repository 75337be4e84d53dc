"""What is compared when a model is quantized: the UNet of a text-to-image model, or the DDPM on pixels.

A subject opens a variant of itself and draws the same picture with it, from the same noise.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studio.engine.calibration import Call, Calls, Recording
from studio.engine.generate import decode, generate
from studio.engine.lease import Lease
from studio.engine.quantized import Quantizers
from studio.engine.strengths import Quiet
from studio.errors import InvalidInput
from studio.events import Context, Loading
from studio.lineage import weights_sha256
from studio.types import MAX_SEED, GenerationRequest, Precision, Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.engine.pixel import PixelModel
    from studio.engine.walking import Walk

FULL = "fp32"
"""The variant that the others are measured against."""
KEPT_VARIANTS = 8
CALIBRATED_PICTURES, CALIBRATED_STEPS, CALIBRATED_GAMMA = 8, 40, 2.0


@dataclass(frozen=True)
class Variant:
    """A network that is ready to draw. draw(calls) gives the picture; with a list, what the network is asked is written
    into it. sha256: of the weights that it was made of."""

    net: Any
    draw: Callable[[list[Call] | None], Image]
    sha256: str


class Subject(Protocol):
    """Something that can be drawn by several variants of one network."""

    @property
    def name(self) -> str: ...

    def open(self, quant_id: str, context: Context) -> AbstractContextManager[Variant]:
        """A variant, while it is held. Emits Loading where it is not at hand. Raises StudioError."""

    def further(self, count: int) -> Subject:
        """The same with the seed that is so many further."""


def require_for(subject: Subject, quant_id: str, context: Context) -> None:
    """Raise InvalidInput for a method that is not offered, or was made for another model; ModelUnavailable for one
    whose package or card is not there."""
    method = context.registry.quantizers.use(quant_id, "rows").method
    if method.only not in ("", subject.name):
        raise InvalidInput("quant_cannot.not_its_base", field="rows", method=method.id)


@dataclass(frozen=True)
class TextSubject:
    """A request of text to image; each variant is a component set of the registry."""

    request: GenerationRequest

    @property
    def name(self) -> str:
        return self.request.base_id

    def further(self, count: int) -> TextSubject:
        return replace(self, request=replace(self.request, seed=(self.request.seed + count) % (MAX_SEED + 1)))

    @contextmanager
    def open(self, quant_id: str, context: Context) -> Iterator[Variant]:
        """Raises InvalidInput for a request that starts from a picture or is steered."""
        if self.request.task is not Task.TEXT_TO_IMAGE or self.request.controls:
            raise InvalidInput("quant_no_controls", field="controls")
        wish = replace(self.request, quant_id=quant_id, num_images=1, precision=Precision.EXACT)
        key = context.registry.key(wish.base_id, quant_id)
        if not context.registry.is_resident(key):
            context.emit(Loading(f"{wish.base_id}, {quant_id}"))
        with context.registry.lease(key) as lease:
            drawing = partial(_draw_text, wish, lease, context)
            yield Variant(lease.components.components["unet"], drawing, lease.components.sha256)


def _draw_text(request: GenerationRequest, lease: Lease, context: Context, calls: list[Call] | None) -> Image:
    """The picture as the studio draws it; watched, as diffusers' own pipeline does, which gives the same."""
    context.check_cancelled()
    if calls is None:
        return generate(request, lease, Quiet(context)).images[0]
    import torch

    view = lease.view(request.task, request.scheduler)
    view.unet = Recording(view.unet, calls)
    latents = view(
        request.prompt,
        negative_prompt=request.negative_prompt or None,
        width=request.width,
        height=request.height,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        output_type="latent",
    ).images
    return decode(view, latents)[0]


class PixelVariants:
    """The DDPM on pixels and its variants, the last used of them kept; a few megabytes each. Any thread may use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._model: PixelModel | None = None
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def model(self) -> PixelModel:
        """The network in full precision. Raises ModelUnavailable where it is not."""
        from studio.engine.pixel import PixelModel

        if self._model is None:
            self._model = PixelModel.load(self._folder)
        return self._model

    @cached_property
    def sha256(self) -> str:
        """Of the weights in full precision."""
        return weights_sha256(self._folder)

    def has(self, quant_id: str) -> bool:
        return quant_id in self._kept

    def net(self, quant_id: str, quantizers: Quantizers) -> Any:
        """The network of a variant, made if it is not kept. Raises as `Quantizers.apply`."""
        with self._lock:
            if quant_id not in self._kept:
                model = self.model()
                self._kept[quant_id] = quantizers.apply(quant_id, model.net, Calls(partial(pixel_calls, model)))
            self._kept.move_to_end(quant_id)
            while len(self._kept) > KEPT_VARIANTS:
                self._kept.popitem(last=False)
            return self._kept[quant_id]


@dataclass(frozen=True)
class PixelSubject:
    """A walk of the DDPM on pixels."""

    walk: Walk
    variants: PixelVariants

    @property
    def name(self) -> str:
        return "pixel-ddpm"

    def further(self, count: int) -> PixelSubject:
        return replace(self, walk=replace(self.walk, seed=(self.walk.seed + count) % (MAX_SEED + 1)))

    @contextmanager
    def open(self, quant_id: str, context: Context) -> Iterator[Variant]:
        """Raises ModelUnavailable where the model is not."""
        if not self.variants.has(quant_id):
            context.emit(Loading(f"{self.name}, {quant_id}"))
        net = self.variants.net(quant_id, context.registry.quantizers)
        yield Variant(net, partial(self._draw, net, context), self.variants.sha256)

    def _draw(self, net: Any, context: Context, calls: list[Call] | None) -> Image:
        from studio.engine.noising import to_picture
        from studio.engine.walking import walked

        context.check_cancelled()
        asked: Any = net if calls is None else Recording(net, calls)
        return to_picture(walked(replace(self.variants.model(), net=asked), self.walk)[-1].next)


def pixel_calls(model: PixelModel) -> list[Call]:
    """What the network is asked while it draws pictures of its first classes with guidance, by DDIM."""
    import torch

    from studio.diffusion.samplers import SAMPLERS
    from studio.diffusion.walk import spaced

    calls = list[Call]()
    watched: Any = Recording(model.net, calls)
    labels = torch.arange(CALIBRATED_PICTURES) % len(model.classes)
    denoise = replace(model, net=watched).denoiser(labels, CALIBRATED_GAMMA)
    noise = model.noise(CALIBRATED_PICTURES, 0)
    with torch.no_grad():
        for _ in SAMPLERS["ddim"](denoise, noise, spaced(model.schedule.T, CALIBRATED_STEPS), model.schedule):
            pass
    return calls
