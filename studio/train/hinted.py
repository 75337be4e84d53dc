"""Encoded scenes with their maps, as a ControlNet's training draws them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from studio.train.hints import exact_hint, map_sources, spoilt_hint, usable_rows
from studio.train.latents import Latents, encoded_scenes
from studio.train.run import Run
from studio.train.unet import draw_batch, sample_times
from studio.world.maps import MapKind


@dataclass(frozen=True)
class Hinted:
    """Encoded scenes, what their maps are made from, and the rows that have a map. size: of a picture."""

    kind: MapKind
    latents: Latents
    sources: NDArray[Any]
    rows: NDArray[np.int64]
    size: int

    def hints(self, picks: NDArray[np.int64], rng: np.random.Generator | None) -> Tensor:
        """(B, 3, size, size) in [0, 1]: spoilt maps, or exact ones without a random stream."""
        maps = [
            exact_hint(self.kind, source, self.size) if rng is None else spoilt_hint(self.kind, source, self.size, rng)
            for source in (self.sources[pick] for pick in picks)
        ]
        return torch.from_numpy(np.stack(maps)).permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class Batch:
    """x0: (B, 4, h, w); t: (B,); tokens: (B, 64); covers: (B, 1, h, w); hint: (B, 3, 8 h, 8 w) in [0, 1]."""

    x0: Tensor
    t: Tensor
    tokens: Tensor
    covers: Tensor
    hint: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(**{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})


def hinted_scenes(
    run: Run, base: Path, tokenizer: PreTrainedTokenizerFast, kind: MapKind, first_seed: int, scenes: int, size: int
) -> Hinted:
    """Scenes from first_seed on, rendered and encoded by the first process and read by all."""
    latents = encoded_scenes(run, base / "vae", tokenizer, first_seed, scenes, size)
    if run.rank == 0:
        map_sources(kind, first_seed, scenes, size)
    run.barrier()
    sources = map_sources(kind, first_seed, scenes, size)
    return Hinted(kind, latents, sources, usable_rows(kind, sources), size)


def draw(data: Hinted, batch: int, empty: NDArray[Any], dropout: float, rng: np.random.Generator) -> Batch:
    """Random scenes with spoilt maps."""
    picks = np.sort(rng.choice(data.rows, batch))
    x0, tokens, covers = draw_batch(data.latents, picks, empty, dropout, rng)
    return Batch(x0, torch.from_numpy(sample_times(batch, rng)), tokens, covers, data.hints(picks, rng))


def ahead(make: Callable[[int], Batch], first: int, threads: int) -> Iterator[Batch]:
    """make(first), make(first + 1), ... with other threads `threads` calls ahead."""
    with ThreadPoolExecutor(threads) as pool:
        numbers = count_from(first)
        waiting = deque(pool.submit(make, next(numbers)) for _ in range(threads))
        while True:
            waiting.append(pool.submit(make, next(numbers)))
            yield waiting.popleft().result()
