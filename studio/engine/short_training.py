"""A DDPM that is trained while somebody looks: a minute, a small network, a few hundred pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from studio.engine.noising import whole
from studio.errors import InvalidInput
from studio.events import Context, Row

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from studio.diffusion.schedules import Schedule
    from studio.diffusion.unet import UNet

LEAST_SECONDS, MOST_SECONDS = 5, 120
BATCH, RATE, DECAY = 16, 2e-3, 0.98
TELL_SECONDS, DRAW_SECONDS = 1.0, 10.0
SAMPLES, SAMPLE_STEPS, T = 8, 20, 1000


@dataclass(frozen=True)
class Trained:
    """What a short training came to. losses: (step, loss), each the mean since the one before; average, raw: what the
    averaged weights and the last ones draw from the same noise."""

    losses: tuple[tuple[int, float], ...]
    average: tuple[Image, ...]
    raw: tuple[Image, ...]
    samples_per_second: float


@dataclass(frozen=True, eq=False)
class ShortTraining:
    """The work of training a small DDPM; `Done` carries a Trained, and Rows before it carry the same so far.

    pictures: (N, side, side, 3) uint8, side a multiple of 4; seconds: of its own, not of those whose work it lets
    through; loss: "l1" or "l2"; uses_time: False trains a network that is not told t.
    """

    long: ClassVar[bool] = True
    pictures: NDArray[np.uint8] = field(repr=False)
    seconds: int = 60
    loss: str = "l2"
    uses_time: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InvalidInput that names the field."""
        from studio.diffusion.process import LossKind

        object.__setattr__(self, "seconds", whole("seconds", self.seconds, LEAST_SECONDS, MOST_SECONDS))
        if self.loss not in get_args(LossKind):
            choices = ", ".join(get_args(LossKind))
            raise InvalidInput("not_a_choice", field="loss", value=str(self.loss)[:40], choices=choices)

    def run(self, context: Context) -> Trained:
        """Train until the seconds are spent. Raises Cancelled."""
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        net, schedule, x0 = self._begin()
        average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
        step = Stepper(self, net, x0, schedule)
        losses, since, spent, told, drew = list[tuple[int, float]](), list[float](), 0.0, 0.0, 0.0
        averaged, raw = self._drawn(average.module, schedule), self._drawn(net, schedule)
        while spent < self.seconds:
            context.yield_device()
            started = time.monotonic()
            since.append(step())
            average.update_parameters(net)
            spent += time.monotonic() - started
            if spent - told >= TELL_SECONDS or spent >= self.seconds:
                losses.append((step.count, float(np.mean(since))))
                told, since = spent, []
                if spent - drew >= DRAW_SECONDS or spent >= self.seconds:
                    averaged, raw, drew = self._drawn(average.module, schedule), self._drawn(net, schedule), spent
                found = Trained(tuple(losses), averaged, raw, step.count * BATCH / spent)
                context.emit(Row({"spent_seconds": spent, "trained": found}))
        return found

    def _begin(self) -> tuple[UNet, Schedule, Tensor]:
        """A new network, its schedule, and the pictures in [-1, 1]."""
        import torch

        from studio.diffusion.process import to_signed
        from studio.diffusion.schedules import cosine
        from studio.diffusion.unet import UNet

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            net = UNet(16, (1, 2), patch=2, uses_time=self.uses_time)
        return net, cosine(T), to_signed(torch.from_numpy(self.pictures)).permute(0, 3, 1, 2)

    def _drawn(self, net: Any, schedule: Schedule) -> tuple[Image, ...]:
        """What a network draws from the seed's noise."""
        import torch

        from studio.diffusion.parameterisations import clipped, denoiser
        from studio.diffusion.samplers import ddim
        from studio.diffusion.unet import told
        from studio.diffusion.walk import last, spaced
        from studio.engine.noising import to_picture

        side, generator = self.pictures.shape[1], torch.Generator().manual_seed(self.seed)
        x = torch.randn(SAMPLES, 3, side, side, generator=generator)
        with torch.inference_mode():
            denoise = clipped(denoiser(told(net), "eps", schedule))
            found = last(ddim(denoise, x, spaced(schedule.T, SAMPLE_STEPS), schedule))
        return tuple(to_picture(one[None]) for one in found)


class Stepper:
    """One step of training after the other: DDPM (2006.11239), algorithm 1."""

    def __init__(self, wish: ShortTraining, net: UNet, x0: Tensor, schedule: Schedule) -> None:
        import torch

        self._net, self._x0, self._schedule, self._kind = net, x0, schedule, wish.loss
        self._generator = torch.Generator().manual_seed(wish.seed)
        self._optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.0)
        self.count = 0

    def __call__(self) -> float:
        """Take a step; returns its loss."""
        import torch

        from studio.diffusion.process import draw_t, noise_loss, q_sample

        picks = torch.randint(len(self._x0), (BATCH,), generator=self._generator)
        x0, t = self._x0[picks], draw_t(BATCH, self._schedule, self._generator)
        eps = torch.randn(x0.shape, generator=self._generator)
        guess = self._net(q_sample(x0, t, eps, self._schedule), t)
        loss = noise_loss(eps, guess, "l1" if self._kind == "l1" else "l2")
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), 1.0)
        self._optimizer.step()
        self.count += 1
        return float(loss.detach())
