"""Generations for the history, without a model."""

from __future__ import annotations

import random

from PIL import Image

from studio.events import GenerationResult, Timings
from studio.types import GenerationRequest


def wish(seed: int = 7, num_images: int = 1, prompt: str = "a red ball 红球") -> GenerationRequest:
    return GenerationRequest("little-world", prompt, seed, width=64, height=64, num_images=num_images)


def noise(seed: int, side: int = 64) -> Image.Image:
    """A picture that no compression makes small."""
    return Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(3 * side * side))


def drawn(request: GenerationRequest) -> GenerationResult:
    """What a generation of the request might give."""
    images = tuple(noise(request.seed + index) for index in range(request.num_images))
    return GenerationResult(images, request, Timings(1.0, 2.0, 3.0, 4.0), 5, "ab" * 32, ("prompt_truncated",))
