"""From a request to pictures: encode the prompt, denoise with a preview at every step, decode."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.engine.memory import PeakMeter, is_out_of_memory
from studio.engine.preview import previews, watch_denoised
from studio.engine.registry import Lease, Registry
from studio.errors import GenerationFailed, InvalidInput
from studio.types import Context, Decoding, GenerationRequest, GenerationResult, Loading, Step, Task, Timings

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


@dataclass(frozen=True)
class Generation:
    """The work of drawing one request's pictures; `Done` carries its GenerationResult."""

    request: GenerationRequest

    def run(self, context: Context) -> GenerationResult:
        """Emits Loading (unless the model is resident), a Step each step, Decoding.

        Raises Cancelled at the next step after a cancel, GenerationFailed, ModelUnavailable or InvalidInput.
        """
        registry: Registry = context.registry
        key = registry.key(self.request.base_id, self.request.quant_id)
        if not registry.is_resident(key):
            context.emit(Loading(key.base_id))
        watch = _Stopwatch()
        with registry.lease(key) as lease:
            load_seconds = watch.lap()
            try:
                return generate(self.request, lease, context, load_seconds)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
        # Raised here, where the failed call's frames and their tensors are already gone.
        raise GenerationFailed("out_of_memory", device=key.device)


def generate(request: GenerationRequest, lease: Lease, context: Context, load_seconds: float = 0.0) -> GenerationResult:
    """Draw the request's pictures with a leased model. Emits Step and Decoding; raises as `Generation.run`."""
    context.check_cancelled()
    arguments = _task_arguments(request)
    view = lease.view(request.task, request.scheduler)
    meter = PeakMeter(lease.key.device)
    watch = _Stopwatch()
    notes = _truncation_notes(view.tokenizer, request)
    embeds = _encode(view, request)
    encode_seconds = watch.lap()
    latents = _denoise(view, request, lease, context, meter, {**embeds, **arguments})
    denoise_seconds = watch.lap()
    context.emit(Decoding())
    images = _decode(view, latents)
    meter.sample()
    return GenerationResult(
        images=images,
        request=request,
        timings=Timings(load_seconds, encode_seconds, denoise_seconds, decode_seconds=watch.lap()),
        peak_bytes=meter.peak_bytes,
        model_sha256=lease.components.sha256,
        notes=notes,
    )


def _task_arguments(request: GenerationRequest) -> dict[str, Any]:
    """What the task's pipeline takes beside what all of them take."""
    size = (request.width, request.height)
    if request.task is Task.TEXT_TO_IMAGE:
        return {"width": request.width, "height": request.height}
    if request.init_image is None:
        raise InvalidInput("needs_image", field="init_image")
    if int(request.num_inference_steps * request.strength) < 1:
        raise InvalidInput("no_step_left", steps=request.num_inference_steps, strength=request.strength)
    arguments = {"image": request.init_image.convert("RGB").resize(size), "strength": request.strength}
    if request.task is Task.IMAGE_TO_IMAGE:
        return arguments
    if request.mask is None:
        raise InvalidInput("needs_image", field="mask")
    mask = request.mask.convert("L").resize(size)
    return {**arguments, "mask_image": mask, "width": request.width, "height": request.height}


def _truncation_notes(tokenizer: Any, request: GenerationRequest) -> tuple[str, ...]:
    """Which texts are longer than the text encoder reads: diffusers leaves their ends out."""
    texts = {"prompt_truncated": request.prompt, "negative_prompt_truncated": request.negative_prompt}
    return tuple(note for note, text in texts.items() if len(tokenizer(text).input_ids) > tokenizer.model_max_length)


def _encode(view: Any, request: GenerationRequest) -> dict[str, torch.Tensor | None]:
    """The embeddings of the prompt and, where guidance uses it, of the negative prompt: (1, tokens, dims) each."""
    import torch

    with torch.inference_mode():
        prompt_embeds, negative_prompt_embeds = view.encode_prompt(
            request.prompt,
            view.device,
            1,
            request.guidance_scale > 1.0,
            request.negative_prompt,
        )
    return {"prompt_embeds": prompt_embeds, "negative_prompt_embeds": negative_prompt_embeds}


def _denoise(
    view: Any,
    request: GenerationRequest,
    lease: Lease,
    context: Context,
    meter: PeakMeter,
    arguments: dict[str, Any],
) -> torch.Tensor:
    """The finished latents (num_images, C, h, w). Image i starts from the noise of seed + i, drawn on the CPU."""
    import torch

    denoised = watch_denoised(view.scheduler)
    latent_rgb = lease.components.latent_rgb
    size = (request.width, request.height)

    def after_step(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        context.check_cancelled()
        if not tensors["latents"].isfinite().all():
            raise GenerationFailed("latents_not_finite", step=index + 1)
        meter.sample()
        pictures = previews(denoised(), latent_rgb, size) if latent_rgb is not None else ()
        context.emit(Step(index + 1, pipeline.num_timesteps, pictures))
        return {}

    seeds = range(request.seed, request.seed + request.num_images)
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


def _decode(view: Any, latents: torch.Tensor) -> tuple[Image, ...]:
    """Pixels of finished latents, as diffusers' own pipelines decode them."""
    import torch

    with torch.inference_mode():
        pixels = view.vae.decode(latents / view.vae.config.scaling_factor, return_dict=False)[0]
    if not pixels.isfinite().all():
        raise GenerationFailed("pixels_not_finite")
    return tuple(view.image_processor.postprocess(pixels, output_type="pil"))


class _Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        return seconds
