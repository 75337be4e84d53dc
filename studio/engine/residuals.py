"""What a ControlNet adds: the residuals of its zero convolutions, step by step, and the two facts that they stand on.

At scale 0 a ControlNet adds exactly nothing; and several units add exactly the sum of what each of them adds
(Zhang et al., 2302.05543, section 3.1; diffusers' MultiControlNetModel).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from studio.engine.generate import generate, with_models
from studio.engine.registry import Lease
from studio.engine.strengths import Light, Quiet, draw
from studio.errors import InvalidInput, StudioError
from studio.events import Context, Step
from studio.types import GenerationRequest, Precision

if TYPE_CHECKING:
    import torch

MOST_STEPS = 4
"""Of the pictures that are drawn to compare them byte by byte."""
TRIED_TIMESTEP = 500
SECOND_SCALE = 0.5
"""Of the second unit, where a request has only one to add up."""


@dataclass(frozen=True)
class Residuals:
    """names: of the places in the UNet; units: for each use of a ControlNet, for each step, the root mean square of
    what it adds at each place."""

    names: tuple[str, ...]
    units: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True)
class ResidualWatch:
    """The work of drawing one picture and hearing what its ControlNets add; `Done` carries Residuals."""

    request: GenerationRequest

    def run(self, context: Context) -> Residuals:
        """Raises as `Generation.run`, and StudioError where what draws has no modules that could be heard."""
        _require_unit(self.request)
        request = replace(self.request, num_images=1, precision=Precision.EXACT)
        return with_models(request, context, lambda lease: heard(request, lease, context))


def heard(request: GenerationRequest, lease: Lease, context: Context) -> Residuals:
    """Draw with a lease, and hear."""
    nets = networks(lease)
    with context.registry.lane, listening(list({id(net): net for net in nets}.values())) as calls:
        generate(request, lease, Quiet(context))
    if not calls:
        raise StudioError("nothing_heard")
    units = tuple(tuple(calls[place :: len(nets)]) for place in range(len(nets)))
    return Residuals((*(f"down {number}" for number in range(len(calls[0]) - 1)), "mid"), units)


def networks(lease: Lease) -> list[Any]:
    """The ControlNet of each use, in the order in which they are called."""
    return [held.components["controlnet"] for acting in lease.steering.acting_controls for held in acting.sets]


@contextmanager
def listening(nets: Sequence[torch.nn.Module]) -> Iterator[list[tuple[float, ...]]]:
    """Hear every call of some ControlNets. The lane must be held: they are shared with every other picture."""
    calls: list[tuple[float, ...]] = []

    def hear(module: Any, args: Any, output: Any) -> None:
        down, middle = output
        calls.append(tuple(_root_mean_square(residual) for residual in (*down, middle)))

    hooks = [net.register_forward_hook(hear) for net in nets]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _root_mean_square(residual: torch.Tensor) -> float:
    """Of the last row, (C, h, w), which reads the prompt."""
    return float(residual[-1].float().square().mean().sqrt())


@dataclass(frozen=True)
class ControlChecks:
    """The work of trying both facts on one request; `Done` carries a Light for each."""

    request: GenerationRequest

    def run(self, context: Context) -> tuple[Light, ...]:
        """Raises as `Generation.run`, and InvalidInput for a request without a unit."""
        _require_unit(self.request)
        few = min(MOST_STEPS, self.request.num_inference_steps)
        request = replace(self.request, num_images=1, num_inference_steps=few)
        nothing = _without_effect(request, context)
        context.emit(Step(1, 2))
        return (nothing, _adding_up(request, context))


def _without_effect(request: GenerationRequest, context: Context) -> Light:
    """Whether scale 0 gives the bytes of the picture that has no unit."""
    silent = replace(request, controls=tuple(replace(use, scale=0.0) for use in request.controls))
    one, other = (
        with_models(wish, context, lambda lease, wish=wish: draw(wish, lease, context)).tobytes()  # type: ignore[misc]
        for wish in (silent, replace(request, controls=()))
    )
    differing = sum(a != b for a, b in zip(one, other, strict=True))
    return Light("scale_zero", differing == 0, {"bytes": len(one), "differing": differing})


def _adding_up(request: GenerationRequest, context: Context) -> Light:
    """Whether two units together add what each of them adds, at one x_t. A single unit stands beside itself."""
    first = request.controls[0]
    pair = (first, *request.controls[1:2]) if len(request.controls) > 1 else (first, replace(first, scale=SECOND_SCALE))
    wish = replace(request, controls=pair, precision=Precision.EXACT)
    with_units = with_models(wish, context, lambda lease: _distance_of_sum(wish, lease, context))
    return Light("units_add_up", with_units == 0, {"difference": with_units})


def _distance_of_sum(request: GenerationRequest, lease: Lease, context: Context) -> float:
    """The largest difference between both units' residuals together and the sum of each one's."""
    import torch

    view = lease.view(request.task, request.scheduler)
    with context.registry.lane, torch.inference_mode(), lease.steered(view) as steered:
        maps, scales = steered["image"], [1.0, SECOND_SCALE]
        nets = view.controlnet.nets
        shape = (
            1,
            view.unet.config.in_channels,
            request.height // view.vae_scale_factor,
            request.width // view.vae_scale_factor,
        )
        xt = torch.randn(shape, generator=torch.Generator().manual_seed(request.seed)).to(view.device, nets[0].dtype)
        words = view.encode_prompt(request.prompt, view.device, 1, False)[0].to(nets[0].dtype)
        hints = [_hint(view, one, request) for one in maps]
        timestep = torch.tensor(TRIED_TIMESTEP, device=view.device)
        together = view.controlnet(xt, timestep, words, hints, scales, return_dict=False)
        alone = [
            net(xt, timestep, words, hint, scale, return_dict=False)
            for net, hint, scale in zip(nets, hints, scales, strict=True)
        ]
    summed = [a + b for a, b in zip((*alone[0][0], alone[0][1]), (*alone[1][0], alone[1][1]), strict=True)]
    pairs = zip((*together[0], together[1]), summed, strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def _hint(view: Any, picture: Any, request: GenerationRequest) -> torch.Tensor:
    """A map as the pipeline gives it to its ControlNet, (1, 3, H, W) in [0, 1]."""
    processed = view.control_image_processor.preprocess(picture, height=request.height, width=request.width)
    hint: torch.Tensor = processed.to(view.device, view.controlnet.nets[0].dtype)
    return hint


def _require_unit(request: GenerationRequest) -> None:
    if not request.controls:
        raise InvalidInput("no_unit_on", field="controls")
