"""What an IP-Adapter must do, tried on the page's own model, references and prompt: one call of the UNet for each fact.

At scale 0 the clone computes the base's very numbers, with the same attention kernel; what a cross-attention gives is a
straight line in the scale; and the text still decides when the references act in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from studio.engine.generate import with_models
from studio.engine.registry import Lease
from studio.engine.strengths import Light
from studio.errors import InvalidInput
from studio.events import Context
from studio.types import GenerationRequest, Task

if TYPE_CHECKING:
    import torch

AFFINE_TOLERANCE = 1e-4
"""Of the largest number, in float32; half precision rounds a thousand times more."""
HALF_TOLERANCE = 2e-2
TEXT_MATTERS = 1e-3
"""By so much of its length a prediction must change with the text."""
SCALES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class ReferenceLights:
    """The work of trying the three facts on a request with references; its result is a tuple of Lights."""

    request: GenerationRequest

    def run(self, context: Context) -> tuple[Light, ...]:
        """Emits Loading. Raises as `with_models`, and InvalidInput for a request that nothing steers."""
        if not self.request.controls:
            raise InvalidInput("needs_image", field="reference_1")
        whole = tuple(replace(use, start=0.0, end=1.0) for use in self.request.controls)
        request = replace(self.request, num_images=1, controls=whole)
        with context.registry.lane:
            return with_models(request, context, lambda lease: lights(request, lease))


def lights(request: GenerationRequest, lease: Lease) -> tuple[Light, ...]:
    """Try them with a leased model."""
    import torch

    with torch.inference_mode():
        asked = _Asked.of(request, lease)
        base = asked.base()
        predicted, attended = zip(*(asked.clone(scale) for scale in SCALES), strict=True)
        other = asked.clone(SCALES[-1], other_text=True)[0]
    changed = int((predicted[0] != base).sum())
    middle = (attended[0] + attended[2]) / 2
    off = float((attended[1] - middle).abs().max() / attended[2].abs().max())
    tolerance = AFFINE_TOLERANCE if base.dtype == torch.float32 else HALF_TOLERANCE
    moved = float((other - predicted[2]).norm() / predicted[2].norm())
    return (
        Light("references_off", changed == 0, {"count": changed, "total": base.numel()}),
        Light("references_affine", off <= tolerance, {"difference": off, "tolerance": tolerance}),
        Light("references_text", moved > TEXT_MATTERS, {"percent": 100 * moved}),
    )


@dataclass(frozen=True)
class _Asked:
    """One noise at one time, asked of the base and of its clone with the references at any scale."""

    request: GenerationRequest
    lease: Lease
    view: Any
    x: torch.Tensor
    texts: tuple[torch.Tensor, torch.Tensor]

    @classmethod
    def of(cls, request: GenerationRequest, lease: Lease) -> _Asked:
        import torch

        view = lease.view(Task.TEXT_TO_IMAGE, request.scheduler)
        sides = (request.height // view.vae_scale_factor, request.width // view.vae_scale_factor)
        generator = torch.Generator("cpu").manual_seed(request.seed)
        x = torch.randn((1, view.unet.config.in_channels, *sides), generator=generator)
        texts = [view.encode_prompt(text, view.device, 1, False)[0] for text in (request.prompt, "")]
        return cls(request, lease, view, x.to(view.device, view.unet.dtype), (texts[0], texts[1]))

    def base(self) -> torch.Tensor:
        """What the pristine UNet predicts, (1, C, h, w)."""
        return self._predicted(self.lease.pristine.components["unet"], self.texts[0], {})

    def clone(self, scale: float, other_text: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """The clone's prediction, and what its first cross-attention gives: before it, nothing knows the scale."""
        kept: list[torch.Tensor] = []
        layer = next(one for name, one in self.view.unet.named_modules() if name.endswith(".attn2"))
        hook = layer.register_forward_hook(_keeping(kept))
        try:
            with self._at(scale).steered(self.view) as given:
                embeds = self.view.prepare_ip_adapter_image_embeds(
                    given["ip_adapter_image"], None, self.view.device, 1, False
                )
                told = {
                    "added_cond_kwargs": {"image_embeds": embeds},
                    "cross_attention_kwargs": given.get("cross_attention_kwargs"),
                }
                return self._predicted(self.view.unet, self.texts[other_text], told), kept[0]
        finally:
            hook.remove()

    def _at(self, scale: float) -> Lease:
        """The same lease with the references at another scale."""
        steering = self.lease.steering
        acting = tuple(
            replace(one, uses=tuple(replace(use, scale=scale) for use in one.uses)) for one in steering.acting_controls
        )
        return replace(self.lease, steering=replace(steering, acting_controls=acting))

    def _predicted(self, unet: Any, text: torch.Tensor, told: Mapping[str, Any]) -> torch.Tensor:
        time = len(self.view.scheduler.alphas_cumprod) // 2
        answer: torch.Tensor = unet(self.x, time, encoder_hidden_states=text, return_dict=False, **told)[0]
        return answer


def _keeping(kept: list[torch.Tensor]) -> Callable[..., None]:
    def keep(layer: Any, args: Any, output: torch.Tensor) -> None:
        kept.append(output)

    return keep
