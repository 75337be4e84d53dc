"""Pictures of the world for training, rendered by all cores and kept under runs/data."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from studio.train.places import data_folder
from studio.world.caption import caption
from studio.world.lexicon import LANGUAGES
from studio.world.lone import kind_of, lone_of_seed, pinned_of_seed
from studio.world.render import render, render_image
from studio.world.scene import Scene, anything_of_seed, scene_of_seed

CHUNK = 256


def _render_chunk(scene_of: Callable[[int], Scene], first: int, count: int, size: int) -> NDArray[np.uint8]:
    return np.stack([render_image(scene_of(seed), size) for seed in range(first, first + count)])


@dataclass(frozen=True)
class Told:
    """Pictures with what training a conditional model needs.

    pictures: (n, size, size, 3) uint8; covers: (n, cells, cells) uint8, the share of a cell that entities cover (255:
    all of it); captions: n lists, of as many in English as in Chinese; entities: (n,) how many things and people.
    """

    offset: int
    pictures: NDArray[np.uint8]
    covers: NDArray[np.uint8]
    captions: list[list[str]]
    entities: NDArray[np.int64]


def _told_chunk(offset: int, first: int, count: int, size: int, cells: int) -> Told:
    pictures, covers, captions, entities = [], [], [], []
    for seed in range(first, first + count):
        scene, rng = scene_of_seed(seed), np.random.default_rng((seed, 1))
        rendered = render(scene, size)
        inside = (rendered.instances > 0).astype(np.float32) * 255
        pictures.append(rendered.image)
        covers.append(cv2.resize(inside, (cells, cells), interpolation=cv2.INTER_AREA).astype(np.uint8))
        captions.append([caption(scene, rng, lang, complete) for complete in (True, False) for lang in LANGUAGES])
        entities.append(len(scene.entities))
    return Told(offset, np.stack(pictures), np.stack(covers), captions, np.array(entities))


def _pool(chunks: int) -> Executor:
    """A process per core, each with one thread; a single chunk is rendered here, sooner than a process starts."""
    if chunks == 1:
        return ThreadPoolExecutor(1)
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(os.cpu_count(), mp_context=spawn, initializer=cv2.setNumThreads, initargs=(1,))


def rendered_pictures(first_seed: int, count: int, size: int) -> NDArray[np.uint8]:
    """Scenes as the base's training sees them: (count, size, size, 3) uint8, rendered once and kept."""
    return _rendered("pictures", scene_of_seed, first_seed, count, size)


def rendered_anything(first_seed: int, count: int, size: int) -> NDArray[np.uint8]:
    """Scenes of the whole world, reserved concepts included: (count, size, size, 3) uint8, rendered once and kept."""
    return _rendered("anything", anything_of_seed, first_seed, count, size)


def rendered_lone(first_seed: int, count: int, size: int) -> NDArray[np.uint8]:
    """Scenes of one thing alone: (count, size, size, 3) uint8, rendered once and kept."""
    return _rendered("lone", lone_of_seed, first_seed, count, size)


def rendered_pinned(first_seed: int, count: int, size: int) -> NDArray[np.uint8]:
    """The same things in one meadow: (count, size, size, 3) uint8, rendered once and kept."""
    return _rendered("pinned", pinned_of_seed, first_seed, count, size)


def lone_kinds(first_seed: int, count: int) -> NDArray[np.int64]:
    """The label of each of these scenes, lone or pinned. (count,)"""
    return kept_rows("lone-kinds", _kinds_chunk, first_seed, count, (), np.int64)


def _kinds_chunk(first: int, count: int) -> NDArray[np.int64]:
    return np.array([kind_of(lone_of_seed(seed)) for seed in range(first, first + count)], np.int64)


def _rendered(name: str, scene_of: Callable[[int], Scene], first_seed: int, count: int, size: int) -> NDArray[np.uint8]:
    chunk_of = partial(_render_chunk, scene_of, size=size)
    return kept_rows(f"{name}-{size}", chunk_of, first_seed, count, (size, size, 3), np.uint8)


def kept_rows(
    name: str,
    chunk_of: Callable[[int, int], NDArray[Any]],
    first_seed: int,
    count: int,
    shape: tuple[int, ...],
    dtype: DTypeLike,
) -> NDArray[Any]:
    """(count, *shape): chunk_of(first, n) of all seeds from first_seed on, made by all cores once and kept on disk.

    chunk_of is sent to other processes: a function of a module, or a partial of one.
    """
    path = data_folder() / f"{name}-{first_seed}-{count}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npy")
        store = np.lib.format.open_memmap(temporary, "w+", dtype, (count, *shape))
        starts = range(0, count, CHUNK)
        with _pool(len(starts)) as pool:
            chunks = [pool.submit(chunk_of, first_seed + i, min(CHUNK, count - i)) for i in starts]
            for start, chunk in zip(starts, chunks, strict=True):
                rows = chunk.result()
                store[start : start + len(rows)] = rows
        store.flush()
        temporary.replace(path)
    kept: NDArray[Any] = np.load(path, mmap_mode="r")
    return kept


def stream_told(first_seed: int, count: int, size: int, cells: int) -> Iterator[Told]:
    """Rendered and captioned chunks, in order, with the other cores a little ahead."""
    chunks = range(0, count, CHUNK)
    starts = iter(chunks)
    with _pool(len(chunks)) as pool:

        def ahead(wanted: int) -> list[Future[Told]]:
            return [
                pool.submit(_told_chunk, start, first_seed + start, min(CHUNK, count - start), size, cells)
                for start in islice(starts, wanted)
            ]

        waiting = ahead(24)
        while waiting:
            yield waiting.pop(0).result()
            waiting += ahead(1)
