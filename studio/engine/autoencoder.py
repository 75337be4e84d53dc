"""The autoencoder of a view: what it makes of a picture, and how SDXL's is cast without changing the shared one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from studio.construction import imported
from studio.engine.clone import clone_shared
from studio.types import Task

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

IMAGE_TO_IMAGE = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img"


@contextmanager
def own_autoencoder(view: Any, task: Task) -> Iterator[None]:
    """Give a view that encodes a picture a weight-sharing clone to cast: other calls share the set's own, and decode
    with it as it is. In float32 nothing is cast, and the set's own serves."""
    import torch

    shared = view.vae
    if task is not Task.TEXT_TO_IMAGE and view.unet.dtype != torch.float32 and shared.config.get("force_upcast"):
        view.vae = clone_shared(shared)
    try:
        yield
    finally:
        view.vae = shared


def encoded(view: Any, pictures: Image | Sequence[Image], generator: torch.Generator) -> torch.Tensor:
    """The scaled latents (N, C, h, w) that diffusers' image to image makes of pictures of one size. generator: draws
    them from the distribution that a variational encoder gives."""
    pixels = view.image_processor.preprocess(pictures).to(view.device, view.vae.dtype)  # (N, 3, H, W)
    latents = imported(IMAGE_TO_IMAGE, "retrieve_latents")(view.vae.encode(pixels), generator)
    scaled: torch.Tensor = latents * view.vae.config.scaling_factor
    return scaled
