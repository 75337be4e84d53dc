"""Scenes as the UNet sees them: latents, tokens and where the entities are; encoded once, kept under runs/data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from studio.train.artefact import weights_sha256
from studio.train.data import stream_told
from studio.train.run import RUNS, Run
from studio.train.tokenizer import MAX_TOKENS, encode
from studio.train.vae import to_unit

CAPTIONS = 4


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
    """Render, caption and encode `count` scenes; or read them, if the same autoencoder encoded them before."""
    cells = size // 8
    name = f"latents-{size}-{first_seed}-{count}-{weights_sha256(vae_folder)[:12]}"
    folder = RUNS / "data" / name
    shapes = {
        "latents": (np.float16, (count, 4, cells, cells)),
        "covers": (np.uint8, (count, cells, cells)),
        "tokens": (np.int16, (count, CAPTIONS, MAX_TOKENS)),
        "entities": (np.uint8, (count,)),
    }
    if run.rank == 0 and not folder.exists():
        _encode(run, folder, shapes, vae_folder, tokenizer, first_seed, count, size)
    run.barrier()
    return Latents(**{key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in shapes})


@torch.no_grad()
def _encode(
    run: Run, folder: Path, shapes: dict, vae_folder: Path, tokenizer: PreTrainedTokenizerFast, first: int, count: int, size: int
) -> None:  # fmt: skip
    vae = AutoencoderTiny.from_pretrained(vae_folder, dtype=torch.float32).to(run.device)
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    stores = {
        key: np.lib.format.open_memmap(partial / f"{key}.npy", "w+", dtype, shape)
        for key, (dtype, shape) in shapes.items()
    }
    started = time.monotonic()
    for told in stream_told(first, count, size, size // 8):
        rows = slice(told.offset, told.offset + len(told.pictures))
        with run.autocast():
            parts = [
                vae.encode(to_unit(told.pictures[i : i + 64]).to(run.device)).latents
                for i in range(0, len(told.pictures), 64)
            ]
        stores["latents"][rows] = (torch.cat(parts).float() * vae.config.scaling_factor).cpu().numpy()
        stores["covers"][rows] = told.covers
        stores["entities"][rows] = told.entities
        flat = [text for captions in told.captions for text in captions]
        stores["tokens"][rows] = encode(tokenizer, flat).reshape(-1, CAPTIONS, MAX_TOKENS)
        if told.offset % 10_240 == 0:
            run.say(f"encoded {rows.stop} of {count} scenes, {rows.stop / (time.monotonic() - started):.0f} a second")
    for store in stores.values():
        store.flush()
    partial.rename(folder)
