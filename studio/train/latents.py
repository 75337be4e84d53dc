"""Scenes as the UNet sees them: latents, tokens and where the entities are; encoded once, kept under runs/data."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from studio.train.artefact import latents_sha256
from studio.train.data import Told, stream_told
from studio.train.pictures import to_unit
from studio.train.places import data_folder
from studio.train.run import Run
from studio.train.tokenizer import MAX_TOKENS, encode
from studio.train.vae import LATENT_CHANNELS

CAPTIONS, BATCH = 4, 64


@dataclass(frozen=True)
class Latents:
    """latents: (N, C, h, w) float16, scaled as the UNet sees them; covers: (N, h, w) uint8; tokens: (N, 4, 64) int16;
    entities: (N,) uint8. All read from disk as they are needed."""

    latents: NDArray[np.float16]
    covers: NDArray[np.uint8]
    tokens: NDArray[np.int16]
    entities: NDArray[np.uint8]


def encoded_scenes(
    run: Run, vae_folder: Path, tokenizer: PreTrainedTokenizerFast, first_seed: int, count: int, size: int
) -> Latents:
    """Render, caption and encode `count` scenes; or read them, if this autoencoder encoded as many before."""
    cells = size // 8
    folder = _folder_of(vae_folder, first_seed, count, size)
    if run.rank == 0 and not folder.exists():
        vae = AutoencoderTiny.from_pretrained(vae_folder, dtype=torch.float32).to(run.device)
        partial = folder.with_name(folder.name + ".partial")
        _encode(run, vae, tokenizer, stream_told(first_seed, count, size, cells), _new_stores(partial, count, cells))
        partial.rename(folder)
    run.barrier()
    names = [field.name for field in fields(Latents)]
    return Latents(**{name: np.load(folder / f"{name}.npy", mmap_mode="r")[:count] for name in names})


def _folder_of(vae_folder: Path, first_seed: int, count: int, size: int) -> Path:
    """Where at least `count` scenes lie, or else where they shall lie."""
    before, after = f"latents-{size}-{first_seed}-", f"-{latents_sha256(vae_folder)[:12]}"
    kept = (folder.name.removeprefix(before) for folder in data_folder().glob(f"{before}*{after}"))
    counts = sorted(int(name.removesuffix(after)) for name in kept)
    return data_folder() / f"{before}{next((n for n in counts if n >= count), count)}{after}"


def _new_stores(folder: Path, count: int, cells: int) -> dict[str, np.memmap[Any, Any]]:
    """Files in `folder` to be filled, one for each field of Latents."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "latents": (np.float16, (LATENT_CHANNELS, cells, cells)),
        "covers": (np.uint8, (cells, cells)),
        "tokens": (np.int16, (CAPTIONS, MAX_TOKENS)),
        "entities": (np.uint8, ()),
    }
    return {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (count, *shape))
        for name, (dtype, shape) in shapes.items()
    }


@torch.no_grad()
def _encode(
    run: Run,
    vae: AutoencoderTiny,
    tokenizer: PreTrainedTokenizerFast,
    scenes: Iterable[Told],
    stores: dict[str, np.memmap[Any, Any]],
) -> None:
    """Fill the stores with what is told."""
    count, started = len(stores["entities"]), time.monotonic()
    for told in scenes:
        rows = slice(told.offset, told.offset + len(told.pictures))
        batches = (told.pictures[i : i + BATCH] for i in range(0, len(told.pictures), BATCH))
        with run.autocast():
            encoded = torch.cat([vae.encode(to_unit(batch).to(run.device)).latents for batch in batches])
        stores["latents"][rows] = (encoded.float() * vae.config.scaling_factor).cpu().numpy()
        stores["covers"][rows] = told.covers
        stores["entities"][rows] = told.entities
        texts = [text for captions in told.captions for text in captions]
        stores["tokens"][rows] = encode(tokenizer, texts).reshape(-1, CAPTIONS, MAX_TOKENS)
        if told.offset % 10_240 == 0:
            run.say(f"encoded {rows.stop} of {count} scenes, {rows.stop / (time.monotonic() - started):.0f} a second")
    for store in stores.values():
        store.flush()
