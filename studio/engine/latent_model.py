"""A leased text-to-image model as the maths room takes one: noise, a schedule, and guesses of the clean latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.diffusion.guidance import classifier_free
from studio.diffusion.parameterisations import Denoiser, Kind, Model, denoiser
from studio.diffusion.schedules import Schedule
from studio.engine.generate import decode
from studio.engine.lease import Lease
from studio.errors import InvalidInput
from studio.types import Scheduler, Task

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

KINDS: dict[str, Kind] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
"""What diffusers calls the kinds of a prediction."""


@dataclass(frozen=True, eq=False)
class LatentModel:
    """view: a pipeline of diffusers over the leased parts, none of whose samplers is used; kind: of its predictions."""

    view: Any
    schedule: Schedule
    kind: Kind
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, lease: Lease, side: int) -> LatentModel:
        """side: of the pictures, in pixels. Raises InvalidInput for a model that is told more than words (SDXL)."""
        view = lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM)
        if getattr(view.unet.config, "addition_embed_type", None) is not None:
            raise InvalidInput("more_than_words", field="base_id", value=lease.spec.id)
        cells = side // view.vae_scale_factor
        config = view.scheduler.config
        shape = (view.unet.config.in_channels, cells, cells)
        return cls(view, schedule_of(view.scheduler.alphas_cumprod), KINDS[config.prediction_type], shape)

    def denoiser(self, prompt: str, gamma: float) -> Denoiser:
        """Its guess of the clean latents of a prompt, with classifier-free guidance against no prompt at all."""
        import torch

        with torch.inference_mode():
            words, nothing = self.view.encode_prompt(prompt, self.view.device, 1, True)
        if gamma in (0, 1):
            return denoiser(self._told(words if gamma else nothing), self.kind, self.schedule)
        both = torch.cat([nothing, words])

        def mixed(xt: Tensor, t: int) -> Tensor:
            plain, wanted = self._told(both.repeat_interleave(len(xt), 0))(torch.cat([xt, xt]), t).chunk(2)
            return classifier_free(plain, wanted, gamma)

        return denoiser(mixed, self.kind, self.schedule)

    def _told(self, words: Tensor) -> Model:
        """The network's prediction under some words. words: (1, tokens, dims), or one for each row of xt."""
        unet = self.view.unet

        def predict(xt: Tensor, t: int) -> Tensor:
            told = words if len(words) == len(xt) else words.expand(len(xt), -1, -1)
            return unet(xt.to(words.dtype), t, encoder_hidden_states=told).sample.to(xt.dtype)  # type: ignore[no-any-return]

        return predict

    def noise(self, count: int, seed: int) -> Tensor:
        """What walks begin with; row i is the noise of seed + i. (count, C, h, w) float32"""
        import torch

        drawn = [torch.randn(self.shape, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]
        return torch.stack(drawn).to(self.view.device)

    def pictures(self, latents: Tensor) -> tuple[Image, ...]:
        """Decoded one after another: a batch of large ones needs much memory. latents: (B, C, h, w)"""
        return tuple(decode(self.view, one[None])[0] for one in latents)


def schedule_of(alpha_bars: Tensor) -> Schedule:
    """A model's own schedule. alpha_bars: (T,), falling, as diffusers keeps them, in float32."""
    import torch

    exact = alpha_bars.detach().cpu().double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), exact[:-1]])
    return Schedule("the model's own", 1 - exact / before)
