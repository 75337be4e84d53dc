"""A picture noised where a latent model works: encoded, noised to times all along, and decoded again at each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.engine.autoencoder import encoded
from studio.engine.generate import decode, with_models
from studio.engine.lease import Lease
from studio.errors import InvalidInput
from studio.events import Context, Step
from studio.types import GenerationRequest, Scheduler, Task

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class LatentStrip:
    """pictures: decoded at each of `times`, -1 being before any noise; alpha_bars: there; size: numbers in the latents,
    and in the picture."""

    pictures: tuple[Image, ...]
    times: tuple[int, ...]
    alpha_bars: tuple[float, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class LatentNoising:
    """The work of noising a request's picture in its model's latents, by the model's own schedule; `Done` carries a
    LatentStrip. Emits Loading, then a Step for each picture."""

    request: GenerationRequest
    count: int

    def run(self, context: Context) -> LatentStrip:
        """Raises Cancelled, ModelUnavailable, or InvalidInput for a request without a picture."""
        if self.request.init_image is None:
            raise InvalidInput("needs_image", field="init_image")
        return with_models(self.request, context, lambda lease: noised_latents(self, lease, context))


def noised_latents(wish: LatentNoising, lease: Lease, context: Context) -> LatentStrip:
    """x_t = sqrt(alpha_bar_t) z + sqrt(1 - alpha_bar_t) eps, z the scaled latents; always the same eps."""
    import torch

    picture = wish.request.init_image
    assert picture is not None
    generator = torch.Generator("cpu").manual_seed(wish.request.seed)
    view = lease.view(Task.IMAGE_TO_IMAGE, Scheduler.DDIM)
    alpha_bars = view.scheduler.alphas_cumprod
    last = len(alpha_bars) - 1
    times = [round(-1 + (last + 1) * i / max(1, wish.count - 1)) for i in range(wish.count)]
    pictures, shares = [], []
    with context.registry.lane, torch.inference_mode():
        z = encoded(view, picture, generator)  # (1, C, h, w)
        eps = torch.randn(z.shape, generator=generator).to(z)
        for index, t in enumerate(times, start=1):
            context.check_cancelled()
            share = float(alpha_bars[t]) if t >= 0 else 1.0
            pictures.append(decode(view, share**0.5 * z + (1 - share) ** 0.5 * eps)[0])
            shares.append(share)
            context.emit(Step(index, len(times)))
    return LatentStrip(tuple(pictures), tuple(times), tuple(shares), (z.numel(), 3 * picture.width * picture.height))
