"""What a LoRA learns from: pictures with captions, of a person's own folder or of the world."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from studio.errors import InvalidInput, StudioError
from studio.train.pictures import to_unit
from studio.types import MAX_PROMPT_CHARACTERS
from studio.world.caption import caption
from studio.world.lexicon import LANGUAGES
from studio.world.render import render_image
from studio.world.scene import Scene

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MOST_PICTURES, MOST_MEGAPIXELS, MOST_TRIGGER_CHARACTERS = 500, 64, 40
BATCH = 32


@dataclass(frozen=True)
class Told:
    """pictures: (N, size, size, 3) uint8; captions: N lists of as many texts each."""

    pictures: NDArray[np.uint8]
    captions: list[list[str]]


@dataclass(frozen=True)
class Lessons:
    """latents: (N, C, h, w) float32, scaled as the UNet sees them; tokens: (N, K, L) int64, K captions of each."""

    latents: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.latents)


@torch.no_grad()
def encoded(told: Told, vae: Any, tokenizer: Any) -> Lessons:
    """Through a pipeline's own autoencoder and tokenizer, whichever they are."""
    batches = (told.pictures[start : start + BATCH] for start in range(0, len(told.pictures), BATCH))
    latents = [_latents(vae, to_unit(batch).to(vae.device, vae.dtype)).float().cpu() for batch in batches]
    texts = [text for captions in told.captions for text in captions]
    return Lessons(
        torch.cat(latents) * vae.config.scaling_factor,
        tokens_of(tokenizer, texts).view(len(told.captions), -1, tokenizer.model_max_length),
    )


def _latents(vae: Any, x: Tensor) -> Tensor:
    """An AutoencoderTiny gives latents, an AutoencoderKL their distribution, of which the mean is taken."""
    output = vae.encode(x)
    return output.latents if hasattr(output, "latents") else output.latent_dist.mode()


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """(len(texts), L) int64, padded and cut as the pipelines do."""
    length = tokenizer.model_max_length
    batch = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return batch["input_ids"].long()


def told_scenes(scenes: Iterable[Scene], size: int, seed: int) -> Told:
    """Renders, each with a complete caption and a shorter one in both languages."""
    pictures, captions = [], []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng((seed, number, 10))
        pictures.append(render_image(scene, size))
        captions.append([caption(scene, rng, lang, complete) for complete in (True, False) for lang in LANGUAGES])
    return Told(np.stack(pictures), captions)


def told_folder(folder: Path, trigger: str, size: int) -> Told:
    """A person's pictures, cut to their middle square. NAME.txt beside NAME.png is its caption, to which the trigger is
    added where it lacks it; without one the trigger alone is.

    Raises StudioError for a folder without pictures or with too many, a trigger that is none, or a caption that cannot
    be read; InvalidInput for a picture that is broken or too large.
    """
    trigger = checked_trigger(trigger)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise StudioError("lora_no_pictures", folder=folder, formats=", ".join(SUFFIXES))
    if len(paths) > MOST_PICTURES:
        raise StudioError("lora_many_pictures", folder=folder, maximum=MOST_PICTURES, value=len(paths))
    captions = [[_caption_of(path.with_suffix(".txt"), trigger)] for path in paths]
    return Told(np.stack([_square(path, size) for path in paths]), captions)


def checked_trigger(trigger: str) -> str:
    """The trigger without blanks around it. Raises StudioError for one that is empty, too long or not one line."""
    trimmed = trigger.strip()
    short = len(trimmed) <= MOST_TRIGGER_CHARACTERS and trimmed.isprintable()
    if not short or not re.search(r"[^\W_]", trimmed):
        raise StudioError("lora_trigger", maximum=MOST_TRIGGER_CHARACTERS)
    return trimmed


def _caption_of(path: Path, trigger: str) -> str:
    if not path.is_file():
        return trigger
    try:
        text = " ".join(path.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise StudioError("lora_caption", file=path.name, maximum=MAX_PROMPT_CHARACTERS) from error
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise StudioError("lora_caption", file=path.name, maximum=MAX_PROMPT_CHARACTERS)
    if trigger.lower() in text.lower():
        return text
    return f"{trigger}, {text}" if text else trigger


def _square(path: Path, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) uint8: upright, on white where it is transparent."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_MEGAPIXELS * 1_000_000:
                raise InvalidInput("upload_too_large", field=path.name, maximum=MOST_MEGAPIXELS)
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput("upload_damaged", field=path.name) from error
    white = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    return np.asarray(ImageOps.fit(white, (size, size), Image.Resampling.LANCZOS), np.uint8)
