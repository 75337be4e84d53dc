"""From a request to pictures: encode the prompt, denoise with a preview at every step, decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from studio.engine.autoencoder import own_autoencoder
from studio.engine.backends import install
from studio.engine.entry import steps_of, steps_to_run, watch_start
from studio.engine.inpaint import binary, blend, latent_region, soft_alpha
from studio.engine.inside import look_inside
from studio.engine.lora_tags import with_loras
from studio.engine.memory import Meter, is_out_of_memory
from studio.engine.preview import Previews, watch_denoised
from studio.engine.registry import Lease, Registry
from studio.errors import GenerationFailed, InvalidInput
from studio.events import Context, Decoding, GenerationResult, Loading, Step, Timings
from studio.types import GenerationRequest, Task

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Drawn = TypeVar("Drawn")
EMBEDDINGS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""What pipelines call the outputs of their `encode_prompt`, in its order."""


@dataclass(frozen=True)
class Generation:
    """The work of drawing one request's pictures; `Done` carries its GenerationResult.

    inside: whether to tell what happened inside as well. It changes no byte of the pictures.
    """

    request: GenerationRequest
    inside: bool = field(default=False, kw_only=True)

    def run(self, context: Context) -> GenerationResult:
        """Emits Loading (unless the model is resident), a Step each step, Decoding.

        Raises Cancelled at the next step after a cancel, GenerationFailed, ModelUnavailable or InvalidInput.
        """
        with context.registry.lane:
            watch = _Stopwatch()
            return with_models(
                self.request, context, lambda lease: generate(self.request, lease, context, watch.lap(), self.inside)
            )


def with_models(request: GenerationRequest, context: Context, draw: Callable[[Lease], Drawn]) -> Drawn:
    """What `draw` gives, called with a lease of all that a request needs. For any work that draws.

    Emits Loading for each model that is not resident. Raises as `Registry.lease_for`, what `draw` raises, and
    GenerationFailed where memory ran out: what nobody leases has then left the device.
    """
    registry: Registry = context.registry
    request = with_loras(request, registry.specs)
    for key in registry.keys_of(request):
        if not registry.is_resident(key):
            context.emit(Loading(key.base_id))
    with registry.lease_for(request) as lease:
        try:
            return draw(lease)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Told and raised here, where the failed call's frames and their tensors are already gone.
        raise registry.out_of_memory()


def generate(
    request: GenerationRequest, lease: Lease, context: Context, load_seconds: float = 0.0, inside: bool = False
) -> GenerationResult:
    """Draw the request's pictures with a leased model. Emits Step and Decoding; raises as `Generation.run`."""
    context.check_cancelled()
    request = with_loras(request, context.registry.specs)
    if request.task not in lease.spec.tasks:
        choices = ", ".join(lease.spec.tasks)
        raise InvalidInput("not_a_choice", field="task", value=request.task.value, choices=choices)
    if len(request.controls) != lease.steering.count:
        raise ValueError("a request with controls is drawn with what `Registry.lease_for` gives for it")
    view = lease.view(request.task, request.scheduler)
    with lease.reserve(request) as meter, lease.steered(view) as steered:
        return _draw(view, request, lease, context, meter, steered, load_seconds, inside)


def _draw(
    view: Any,
    request: GenerationRequest,
    lease: Lease,
    context: Context,
    meter: Meter,
    steered: Mapping[str, Any],
    load_seconds: float,
    inside: bool,
) -> GenerationResult:
    """Draw with a view on which the controls act. steered: their arguments of its call."""
    backing = install(view, request.precision, lease)
    arguments = _task_arguments(request, view.vae_scale_factor)
    watch = _Stopwatch()
    notes = _truncation_notes(view.tokenizer, request)
    embeds = lease.embeddings(request, lambda: _encode(view, request))
    encode_seconds = watch.lap()
    with look_inside(view, request, lease) if inside else nullcontext() as look:
        latents = _denoise(view, request, lease, context, dict(**embeds, **arguments, **steered))
    denoise_seconds = watch.lap()
    context.emit(Decoding())
    images = _composed(request, decode(view, latents))
    meter.sample()
    return GenerationResult(
        images=images,
        request=request,
        timings=Timings(load_seconds, encode_seconds, denoise_seconds, decode_seconds=watch.lap()),
        peak_bytes=meter.peak_bytes,
        model_sha256=lease.components.sha256,
        notes=(*notes, *backing.notes),
        backend=backing.name,
        inside=look.seen() if look is not None else None,
    )


def _task_arguments(request: GenerationRequest, block: int) -> dict[str, Any]:
    """What the task's pipeline takes beside what all of them take. block: a latent's side in pixels."""
    size = (request.width, request.height)
    if request.task is Task.TEXT_TO_IMAGE:
        return {"width": request.width, "height": request.height}
    steps_to_run(request.num_inference_steps, request.strength)
    arguments = {"image": _sized("init_image", request.init_image, size), "strength": request.strength}
    if request.task is Task.IMAGE_TO_IMAGE:
        return arguments
    mask = _sized("mask", request.mask, size)
    region = latent_region(soft_alpha(binary(mask), request.feather), block)
    return {**arguments, "mask_image": region, "width": request.width, "height": request.height}


def _sized(field: str, picture: Image | None, size: tuple[int, int]) -> Image:
    """The picture, which must be there and of the size that is drawn: how it is made to fit is not decided here."""
    if picture is None:
        raise InvalidInput("needs_image", field=field)
    if picture.size != size:
        found, wanted = (f"{width} × {height}" for width, height in (picture.size, size))
        raise InvalidInput("picture_of_another_size", field=field, value=found, wanted=wanted)
    return picture


def _composed(request: GenerationRequest, images: tuple[Image, ...]) -> tuple[Image, ...]:
    """The pictures, of which only what the mask covers is new where there is one."""
    if request.task is not Task.INPAINT:
        return images
    assert request.init_image is not None and request.mask is not None
    alpha = soft_alpha(binary(request.mask), request.feather)
    return tuple(blend(request.init_image, image, alpha) for image in images)


def _truncation_notes(tokenizer: Any, request: GenerationRequest) -> tuple[str, ...]:
    """Which texts are longer than the text encoder reads: diffusers leaves their ends out."""
    texts = {"prompt_truncated": request.prompt, "negative_prompt_truncated": request.negative_prompt}
    return tuple(note for note, text in texts.items() if len(tokenizer(text).input_ids) > tokenizer.model_max_length)


def _encode(view: Any, request: GenerationRequest) -> dict[str, torch.Tensor | None]:
    """The embeddings of the prompt and, where guidance uses it, of the negative prompt: (1, tokens, dims) each.

    SDXL's come with the pooled ones of its second text encoder, (1, dims); it was trained on zeros for no text at all.
    """
    import torch

    with torch.inference_mode():
        encoded = view.encode_prompt(
            prompt=request.prompt,
            device=view.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=request.guidance_scale > 1.0,
            negative_prompt=request.negative_prompt or None,
        )
    return dict(zip(EMBEDDINGS, encoded, strict=False))


def _denoise(
    view: Any,
    request: GenerationRequest,
    lease: Lease,
    context: Context,
    arguments: dict[str, Any],
) -> torch.Tensor:
    """The finished latents (num_images, C, h, w). Image i starts from the noise of seed + i, drawn on the CPU."""
    import torch

    denoised = watch_denoised(view.scheduler)
    latent_rgb = lease.components.latent_rgb
    size = (request.width, request.height)

    def after_step(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        context.check_cancelled()
        if not is_finite(tensors["latents"]):
            raise GenerationFailed("latents_not_finite", step=index + 1)
        pictures = Previews(denoised(), latent_rgb, size) if latent_rgb is not None else ()
        context.emit(Step(index + 1, pipeline.num_timesteps, pictures))
        return {}

    def before_steps(noised: torch.Tensor, steps: int) -> None:
        context.emit(Step(0, steps, Previews(noised, latent_rgb, size) if latent_rgb is not None else ()))

    if request.task is not Task.TEXT_TO_IMAGE:
        watch_start(view, steps_of(request), before_steps)
    seeds = range(request.seed, request.seed + request.num_images)
    with own_autoencoder(view, request.task), torch.inference_mode():
        latents: torch.Tensor = view(
            **arguments,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            num_images_per_prompt=request.num_images,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="latent",
            callback_on_step_end=after_step,
        ).images
    return latents


def decode(view: Any, latents: torch.Tensor) -> tuple[Image, ...]:
    """Pixels of finished latents, as diffusers' own pipelines decode them."""
    import torch

    with torch.inference_mode():
        scaled = latents.to(view.vae.dtype) / view.vae.config.scaling_factor
        pixels = view.vae.decode(scaled, return_dict=False)[0]
    if not pixels.isfinite().all():
        raise GenerationFailed("pixels_not_finite")
    return tuple(view.image_processor.postprocess(pixels, output_type="pil"))


def is_finite(values: torch.Tensor) -> bool:
    """Whether there is no NaN and no infinity. By NumPy: asked at every step, torch takes longer for so few numbers."""
    import numpy as np

    return bool(np.isfinite(values.detach().float().cpu().numpy()).all())


class _Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        return seconds
