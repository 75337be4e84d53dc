"""A walk back from noise where a latent model works: the same samplers as on pixels, towards a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from studio.diffusion.walk import Step as WalkStep
from studio.diffusion.walk import spaced
from studio.engine.generate import with_models
from studio.engine.latent_model import LatentModel
from studio.engine.lease import Lease
from studio.engine.lora_tags import with_loras
from studio.engine.noising import whole
from studio.engine.walking import Walk, sampled
from studio.events import Context, Step
from studio.types import GenerationRequest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


@dataclass(frozen=True)
class Fork:
    """Where a walk parts, and into what: after `at` steps, with another sentence, guidance and seed of fresh noise."""

    at: int
    prompt: str
    gamma: float
    seed: int


@dataclass(frozen=True)
class Decoded:
    """A walk to be looked at. xt, eps, x0: at each of `times`, decoded; finished: where it led."""

    times: tuple[int, ...]
    xt: tuple[Image, ...]
    eps: tuple[Image, ...]
    x0: tuple[Image, ...]
    finished: Image


@dataclass(frozen=True)
class LatentWalking:
    """The work of walking back; `Done` carries a Decoded, and a second one where there is a fork.

    request: which model, which sentence and size; walk: how, its kind being the sentence; shown: how many steps are
    decoded. Emits Loading, then a Step for each step and each decoded one. Long: pictures of others come between.
    """

    long: ClassVar[bool] = True
    request: GenerationRequest
    walk: Walk
    fork: Fork | None = None
    shown: int = 10

    def __post_init__(self) -> None:
        """Raises InvalidInput that names the field."""
        if self.fork is not None:
            last = max(1, self.walk.steps - 1)
            object.__setattr__(self, "fork", replace(self.fork, at=whole("fork", self.fork.at, 1, last)))
            replace(self.walk, gamma=self.fork.gamma, seed=self.fork.seed)
            replace(self.request, prompt=self.fork.prompt)

    def run(self, context: Context) -> tuple[Decoded, ...]:
        """Raises Cancelled, ModelUnavailable, or InvalidInput for a model that is told more than words."""
        return with_models(self.request, context, lambda lease: walked_latents(self, lease, context))


def walked_latents(wish: LatentWalking, lease: Lease, context: Context) -> tuple[Decoded, ...]:
    """Walk, walk on from the fork, and decode."""
    request = with_loras(wish.request, context.registry.specs)
    model, fork = LatentModel.of(lease, request.width), wish.fork
    times = spaced(model.schedule.T, wish.walk.steps)
    per_walk = min(wish.shown, len(times)) + 1
    total = len(times) + per_walk
    if fork is not None:
        total += len(times) - fork.at + per_walk
    told = _Counted(context, total)
    start = model.noise(1, wish.walk.seed)
    steps = list(told.each(_steps(model, wish.walk, request.prompt, start, times)))
    walks = [steps]
    if fork is not None:
        other = replace(wish.walk, gamma=fork.gamma, seed=fork.seed)
        after = _steps(model, other, fork.prompt, steps[fork.at - 1].next, times[fork.at :])
        walks.append([*steps[: fork.at], *told.each(after)])
    return tuple(_decoded(model, told, walk, wish.shown) for walk in walks)


@dataclass
class _Counted:
    """Makes each of what is walked and decoded one at a time, lets others' pictures come between, and counts."""

    context: Context
    total: int
    done: int = 0

    def each(self, made: Iterator[WalkStep]) -> Iterator[WalkStep]:
        import torch

        while True:
            self.context.check_cancelled()
            self.context.yield_device()
            with self.context.registry.lane, torch.inference_mode():
                one = next(made, None)
            if one is None:
                return
            self.count()
            yield one

    def count(self) -> None:
        self.done += 1
        self.context.emit(Step(self.done, self.total))


def _steps(model: LatentModel, walk: Walk, prompt: str, x: Tensor, times: list[int]) -> Iterator[WalkStep]:
    yield from sampled(walk, model.denoiser(prompt, float(walk.gamma)), x, times, model.schedule, walk.seed)


def _decoded(model: LatentModel, told: _Counted, steps: list[WalkStep], count: int) -> Decoded:
    """The pictures of `count` of the steps, evenly, with the first and the last."""
    import torch

    rows: list[tuple[Image, ...]] = []
    chosen = evenly(steps, count)
    for step in chosen:
        told.context.check_cancelled()
        told.context.yield_device()
        with told.context.registry.lane:
            rows.append(model.pictures(torch.cat([step.xt, step.eps, step.x0])))
        told.count()
    with told.context.registry.lane:
        (finished,) = model.pictures(steps[-1].next)
    told.count()
    xt, eps, x0 = zip(*rows, strict=True)
    return Decoded(tuple(step.t for step in chosen), xt, eps, x0, finished)


def evenly(steps: list[WalkStep], count: int) -> list[WalkStep]:
    """At most `count` of the steps, the first and the last among them."""
    if len(steps) <= count:
        return steps
    return [steps[round(i * (len(steps) - 1) / max(1, count - 1))] for i in range(count)]
