"""What happens inside a generation: each step's latents, what each word of the prompt is looked at for, and guidance.

Only for who asks. The collectors hang on a weight-sharing clone of the UNet that lives for one call, so that nothing
is ever attached to the shared components; they read what the layers compute and change none of it. A clone computes
the very bytes of its UNet, and draws in its place. Where something else draws, such as OpenVINO or compiled blocks,
that goes on drawing and the clone computes beside it. A clone with adapters is one call's alone meanwhile, and is
watched itself. In every case the picture has the bytes that it has unwatched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.engine.adapted import AdaptedSet
from studio.engine.backends import DOWN, MID
from studio.engine.clone import clone_shared
from studio.engine.inside_references import listen_to_references
from studio.engine.maps import Maps, MeanMaps, attention_shares, grid_of, resized, within
from studio.engine.preview import Previews, watch_denoised
from studio.engine.words import Word, placed_words
from studio.types import GenerationRequest

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch.utils.hooks import RemovableHandle

    from studio.engine.lease import Lease

MAX_FRAMES = 24
"""Of a longer run as many steps are kept, evenly spread, the first and the last among them."""
MAX_GRID = 32
"""The longer side of a heat map; smaller latents keep their own size."""
MAX_FRAME_SIDE = 128
"""In pixels, of a step's small pictures; one pixel per latent below that."""


@dataclass(frozen=True)
class Frame:
    """One step. index: 1-based; timestep: the model's own, of 1000; noise: sqrt(1 - alpha_bar_t), from 0 to 1.

    noisy: x_t as the UNet reads it, of variance one with every sampler; denoised: the x0 predicted from it; both one
    small RGB picture per image, or none where the model has no map from latents to colours. maps: (images, words + 1,
    h, w), how much of its cross-attention each place gives to each word, averaged over heads and layers; the last
    column is all that is no word, and the columns sum to one. references: (images, references, h, w), the share of each
    reference picture in the cross-attentions' sums, beside the prompt's; None without an IP-Adapter.
    """

    index: int
    timestep: float
    noise: float
    noisy: tuple[Image, ...]
    denoised: tuple[Image, ...]
    maps: Maps
    references: Maps | None = None


@dataclass(frozen=True)
class Inside:
    """What was seen of one generation.

    guidance: for each of `total_steps` and each image |g (c - u)| / |u + g (c - u)|, where u and c are the UNet's
    outputs without and with the prompt and g is the guidance scale; empty where guidance was off. residuals: for each
    step the root mean square of what ControlNets add to each skip on the UNet's way down, from the first to the last,
    and to its middle; empty without one.
    """

    words: tuple[Word, ...]
    frames: tuple[Frame, ...]
    guidance: tuple[tuple[float, ...], ...]
    total_steps: int
    residuals: tuple[tuple[float, ...], ...] = ()


@contextmanager
def look_inside(view: Any, request: GenerationRequest, lease: Lease) -> Iterator[Look]:
    """Watch the one call of a view that follows; what draws for it must be in place.

    Leaving takes everything off the view again, whatever happens.
    """
    unet, step = view.unet, view.scheduler.step
    look = Look(view, request, lease.components.latent_rgb)
    listened = _listened(unet, lease)
    try:
        look.listen_to(listened)
        view.unet = Watched(listened, None, look) if _is_plain(unet) else Watched(unet, listened, look)
        view.scheduler.step = look.following(view.scheduler)
        yield look
    finally:
        look.stop_listening()
        view.unet = unet
        view.scheduler.step = step


def _listened(unet: Any, lease: Lease) -> Any:
    """The module that tells its attention. What carries adapters may be changed between the steps: no copy would do."""
    import torch

    # A stand-in is no module: it stands in for the set's own.
    module = unet if isinstance(unet, torch.nn.Module) else lease.components.components["unet"]
    return module if isinstance(lease.components, AdaptedSet) else clone_shared(module)


def _is_plain(unet: Any) -> bool:
    """Whether PyTorch runs it as it is written, so that a clone gives the same bytes."""
    import torch

    is_module = isinstance(unet, torch.nn.Module)
    return is_module and all(module._compiled_call_impl is None for module in unet.modules())


class Watched:
    """A UNet that tells what it is given and what it answers. shadow: computes beside it, at steps that are kept."""

    def __init__(self, unet: Any, shadow: Any, look: Look) -> None:
        self._unet, self._shadow, self._look = unet, shadow, look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unet, name)

    def __call__(self, sample: torch.Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        self._look.begin_step(sample, timestep)
        output = self._unet(sample, timestep, *args, **kwargs)
        if self._shadow is not None and self._look.is_kept:
            self._shadow(sample, timestep, *args, **kwargs)
        self._look.compare(output[0])
        self._look.weigh(kwargs.get(DOWN) or (), kwargs.get(MID))
        return output


class Look:
    """Gathers what one call computes, from a clone of the UNet that draws it and from the call's own scheduler."""

    def __init__(self, view: Any, request: GenerationRequest, latent_rgb: torch.Tensor | None) -> None:
        self._view, self._request, self._latent_rgb = view, request, latent_rgb
        self._words, self._columns = placed_words(view.tokenizer, request.prompt)
        self._hooks: list[RemovableHandle] = []
        self._frames: list[Frame] = []
        self._guidance: list[tuple[float, ...]] = []
        self._residuals: list[tuple[float, ...]] = []
        self._step = 0
        self._noisy: torch.Tensor
        self._timestep = 0.0
        self._maps, self._references = MeanMaps(), MeanMaps()

    def seen(self) -> Inside:
        """All of it, once the call has ended."""
        return Inside(self._words, tuple(self._frames), tuple(self._guidance), self._step, tuple(self._residuals))

    @property
    def is_kept(self) -> bool:
        """Whether the present step becomes a frame."""
        return self._step in kept_steps(self._view.num_timesteps)

    def stop_listening(self) -> None:
        """Take off what `listen_to` hung on."""
        for hook in self._hooks:
            hook.remove()

    def listen_to(self, unet: Any) -> None:
        """Hear what the cross-attention layers of a UNet compute. It must belong to this call alone."""
        for name, layer in unet.named_modules():
            if name.endswith(".attn2"):
                queries: list[torch.Tensor] = []
                attend = functools.partial(self._attend, layer.heads, layer.scale, queries)
                self._hooks.append(layer.to_q.register_forward_hook(functools.partial(_keep, queries)))
                self._hooks.append(layer.to_k.register_forward_hook(attend))
        images = self._request.num_images
        self._hooks += listen_to_references(unet, images, lambda: self.is_kept, self._refer)

    def following(self, scheduler: Any) -> Callable[..., Any]:
        """The scheduler's step, which also ends a frame."""
        denoised = watch_denoised(scheduler)
        step = scheduler.step

        @functools.wraps(step)
        def stepping(*args: Any, **kwargs: Any) -> Any:
            output = step(*args, **kwargs)
            self._end_step(denoised())
            return output

        return stepping

    def begin_step(self, sample: torch.Tensor, timestep: Any) -> None:
        """The UNet is given x_t: of its batch the last rows are those that read the prompt."""
        self._noisy = sample[-self._request.num_images :]
        self._timestep = float(timestep)
        self._maps, self._references = MeanMaps(), MeanMaps()

    def compare(self, output: torch.Tensor) -> None:
        """The UNet's output comes in two halves where guidance is on: without and with the prompt."""
        if len(output) == 2 * self._request.num_images:
            without, with_prompt = output.float().chunk(2)
            push = self._request.guidance_scale * (with_prompt - without)  # (B, C, h, w)
            share = push.flatten(1).norm(dim=1) / (without + push).flatten(1).norm(dim=1)
            self._guidance.append(tuple(share.tolist()))

    def weigh(self, down: Sequence[torch.Tensor], mid: torch.Tensor | None) -> None:
        """What ControlNets add at a step, (B, C, h, w) each, of the half that reads the prompt."""
        added = [*down, *([mid] if mid is not None else [])]
        if added:
            rows = (one[-self._request.num_images :].float() for one in added)
            self._residuals.append(tuple(float(one.square().mean().sqrt()) for one in rows))

    def _attend(
        self, heads: int, scale: float, queries: list[torch.Tensor], to_k: Any, args: Any, key: torch.Tensor
    ) -> None:
        """A layer has computed its queries and keys: add its map to the step's."""
        query = queries.pop()
        if not self.is_kept:
            return
        images = self._request.num_images
        shares = attention_shares(query[-images:], key[-images:], heads, scale)  # (B, h * w, tokens)
        by_word = shares @ self._columns_of(shares)  # (B, h * w, words + 1)
        self._maps.add(self._placed(by_word.mT))

    def _refer(self, shares: torch.Tensor) -> None:
        """A layer has added up text and references, (B, references, h * w)."""
        self._references.add(self._placed(shares))

    def _placed(self, columns: torch.Tensor) -> torch.Tensor:
        """Columns (B, n, h * w) of a layer as maps of the size that all layers' have. (B, n, h', w')"""
        places = grid_of(columns.shape[-1], self._size())
        return resized(columns.reshape(*columns.shape[:2], *places), within(self._size(), MAX_GRID))

    def _columns_of(self, shares: torch.Tensor) -> torch.Tensor:
        """(tokens, words + 1) of zeros and ones: to which column the attention to each token counts."""
        import torch

        rest = len(self._words)
        columns = [self._columns.get(position, rest) for position in range(shares.shape[-1])]
        return torch.nn.functional.one_hot(torch.tensor(columns, device=shares.device), rest + 1).to(shares.dtype)

    def _end_step(self, denoised: torch.Tensor) -> None:
        """Keep the step, if it is one of those that are."""
        if self.is_kept:
            maps, references = self._maps.mean(), self._references.mean()
            assert maps is not None, "the UNet has no cross-attention"
            alpha_bar = float(self._view.scheduler.alphas_cumprod[round(self._timestep)])
            noisy, shown = self._pictures(self._noisy), self._pictures(denoised)
            noise = (1 - alpha_bar) ** 0.5
            self._frames.append(Frame(self._step + 1, self._timestep, noise, noisy, shown, maps, references))
        self._step += 1

    def _pictures(self, latents: torch.Tensor) -> tuple[Image, ...]:
        """Latents (B, C, h, w) in colours. A UNet that paints into pictures reads more than x_t: that is left out."""
        if self._latent_rgb is None:
            return ()
        height, width = within(self._size(), MAX_FRAME_SIDE)
        return tuple(Previews(latents[:, : len(self._latent_rgb) - 1], self._latent_rgb, (width, height)))

    def _size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        height, width = self._noisy.shape[-2:]
        return height, width


def kept_steps(total: int) -> frozenset[int]:
    """Which of `total` steps, counted from 0, become frames."""
    return frozenset(range(total) if total <= MAX_FRAMES else np.linspace(0, total - 1, MAX_FRAMES).round().astype(int))


def _keep(kept: list[torch.Tensor], module: Any, args: Any, output: torch.Tensor) -> None:
    kept.append(output)
