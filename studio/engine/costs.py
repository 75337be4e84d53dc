"""What a step costs on pixels and in latents, measured here and now: seconds of a call, and the tensors it holds.

One picture, no guidance, as many threads as the process has. The pixel network was trained on smaller pictures: what
it would draw at this size is nobody's question, what a call takes is. Called at the latents' size as well, it says what
the size alone does; the latent model's own network is another one, with more weights and attention.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.engine.generate import with_models
from studio.engine.latent_model import LatentModel
from studio.engine.lease import Lease
from studio.events import Context, Row, Step
from studio.types import GenerationRequest

if TYPE_CHECKING:
    from torch import Tensor, nn

CALLS, STEPS = 5, 25
"""How often each is timed, after one call that is not; and the steps of the picture that is reckoned from it."""
PIXELS, SMALL, LATENTS, DECODER = "pixels", "small", "latents", "decoder"


@dataclass(frozen=True)
class Cost:
    """One network at one size. id: PIXELS and so on; shape: of what it is given, (C, H, W); parameters: its weights;
    seconds: the middle of CALLS calls; peak_bytes: the most that its tensors held at once, without weights."""

    id: str
    shape: tuple[int, int, int]
    parameters: int
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Costs:
    """All four, and the threads they had."""

    rows: tuple[Cost, ...]
    threads: int

    def of(self, name: str) -> Cost:
        return next(row for row in self.rows if row.id == name)

    def picture_seconds(self, name: str, steps: int = STEPS) -> float:
        """A whole picture from so many steps: by the network of this id, and decoded unless it works on pixels."""
        return steps * self.of(name).seconds + (0.0 if name == PIXELS else self.of(DECODER).seconds)


@dataclass(frozen=True)
class PixelsAgainstLatents:
    """The work of measuring; `Done` carries Costs. Emits Loading, then a Step and a Row for each network.

    request: which latent model, and the picture's size; folder: of the pixel network.
    """

    request: GenerationRequest
    folder: Path

    def run(self, context: Context) -> Costs:
        """Raises Cancelled, ModelUnavailable, or InvalidInput for a model that is told more than words."""
        return with_models(self.request, context, lambda lease: measured(self, lease, context))


def measured(wish: PixelsAgainstLatents, lease: Lease, context: Context) -> Costs:
    """One network after another, while nothing else is called on the device."""
    import torch

    rows: list[Cost] = []
    with context.registry.lane, torch.inference_mode():
        for name, net, shape, call in _networks(wish, LatentModel.of(lease, wish.request.width)):
            context.check_cancelled()
            x = torch.randn((1, *shape), generator=torch.Generator().manual_seed(wish.request.seed))
            rows.append(cost(name, net, x.to(next(net.parameters()).device), call))
            context.emit(Row({"network": name, "seconds": rows[-1].seconds, "peak_bytes": rows[-1].peak_bytes}))
            context.emit(Step(len(rows), 4))
    return Costs(tuple(rows), torch.get_num_threads())


def _networks(
    wish: PixelsAgainstLatents, model: LatentModel
) -> Iterator[tuple[str, nn.Module, tuple[int, int, int], Callable[[Tensor], Any]]]:
    """Name, network, the shape it is given, and how it is called."""
    from studio.engine.pixel import PixelModel

    pixel, side, (_, cells, _) = PixelModel.load(wish.folder), wish.request.width, model.shape
    guess, told, vae = pixel.denoiser(), model.denoiser(wish.request.prompt, 1.0), model.view.vae
    at = pixel.schedule.T // 2
    yield PIXELS, pixel.net, (3, side, side), lambda x: guess(x, at)
    yield SMALL, pixel.net, (3, cells, cells), lambda x: guess(x, at)
    yield LATENTS, model.view.unet, model.shape, lambda x: told(x, at)
    yield DECODER, vae.decoder, model.shape, lambda x: vae.decode(x.to(vae.dtype), return_dict=False)


def cost(name: str, net: nn.Module, x: Tensor, call: Callable[[Tensor], Any]) -> Cost:
    """Call a network again and again. x: (1, C, H, W)"""
    from studio.engine.held import Held

    with Held(_pointers([x, *net.parameters(), *net.buffers()])) as held:
        call(x)
    seconds = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        call(x)
        if x.is_cuda:
            import torch

            torch.cuda.synchronize(x.device)
        seconds.append(time.perf_counter() - begun)
    channels, height, width = x.shape[1:]
    parameters = sum(one.numel() for one in net.parameters())
    return Cost(name, (channels, height, width), parameters, statistics.median(seconds), held.peak_bytes)


def _pointers(tensors: Sequence[Tensor]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}
