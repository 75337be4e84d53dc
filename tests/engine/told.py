"""Picture files that say something of themselves, and what is read from them."""

from __future__ import annotations

from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.engine.images import png_bytes
from studio.engine.infotext import FOREIGN, OWN, read, write
from studio.types import GenerationRequest, Scheduler

MODELS = ("little-world", "sd15")
SHA256 = "0123456789abcdef" * 4
REQUEST = GenerationRequest(
    base_id="little-world",
    prompt="a red ball",
    negative_prompt="blurry",
    seed=7,
    width=128,
    height=64,
    num_inference_steps=20,
    guidance_scale=4,
    scheduler=Scheduler.DPMPP_2M,
)


def png(chunks: PngInfo | None = None) -> bytes:
    return png_bytes(Image.new("RGB", (8, 8)), chunks or PngInfo())


def drawn(request: GenerationRequest, index: int = 0) -> bytes:
    """The file of a request's picture."""
    return png(write(request, SHA256, index))


def foreign(text: str) -> bytes:
    """The file of another program."""
    chunks = PngInfo()
    chunks.add_text(FOREIGN, text)
    return png(chunks)


def own(text: str, also: str | None = None) -> bytes:
    chunks = PngInfo()
    chunks.add_text(OWN, text)
    if also is not None:
        chunks.add_text(FOREIGN, also)
    return png(chunks)


def keys(data: bytes) -> list[str]:
    """What is told beside the values."""
    return [problem.key for problem in read(data, MODELS).problems]


def refused_fields(data: bytes) -> set[Any]:
    return {problem.values["field"] for problem in read(data, MODELS).problems if "field" in problem.values}
