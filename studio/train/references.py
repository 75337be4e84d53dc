"""Scenes whose style is told by another scene's picture: what an IP-Adapter learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPModel, PreTrainedTokenizerFast

from studio.lineage import weights_sha256
from studio.train.data import rendered_pictures
from studio.train.latents import CAPTIONS
from studio.train.pictures import to_unit
from studio.train.places import data_folder
from studio.train.run import Run
from studio.train.tokenizer import MAX_TOKENS, encode
from studio.world.caption import caption
from studio.world.lexicon import LANGUAGES
from studio.world.scene import scene_of_seed
from studio.world.vocabulary import STYLES

BATCH = 64


@dataclass(frozen=True)
class References:
    """tokens: (N, 4, 64) int16, captions that leave the style out; styles: (N,) indices into STYLES; embeddings:
    (R, D) float32 of the pictures of the first R <= N scenes, as the image tower sees them."""

    tokens: NDArray[np.int16]
    styles: NDArray[np.int64]
    embeddings: NDArray[np.float32]

    def partners(self, picks: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """For every pick another row of `embeddings` in the same style, chosen by chance among all of them.

        The style is all that it tells of the pick: were content in common avoided too, what the reference shows would
        say what the picture does not show. Raises ValueError if a style has no other scene.
        """
        found = np.empty_like(picks)
        for style in np.unique(self.styles[picks]):
            places = np.flatnonzero(self.styles[picks] == style)
            members = np.flatnonzero(self.styles[: len(self.embeddings)] == style)
            for place in places:
                others = members[members != picks[place]]
                found[place] = rng.choice(others)
        return found


def told_references(
    run: Run, clip_folder: Path, tokenizer: PreTrainedTokenizerFast, first_seed: int, scenes: int, count: int, size: int
) -> References:
    """`scenes` scenes from first_seed on, the first `count` of them with their embedding."""
    embeddings = kept_embeddings(run, clip_folder, first_seed, count, size)
    all_scenes = [scene_of_seed(seed) for seed in range(first_seed, first_seed + scenes)]
    texts = []
    for number, scene in enumerate(all_scenes):
        rng = np.random.default_rng((first_seed + number, 8))
        texts += [caption(scene, rng, lang, complete, styled=False) for complete in (True, False) for lang in LANGUAGES]
    tokens = encode(tokenizer, texts).reshape(scenes, CAPTIONS, MAX_TOKENS).astype(np.int16)
    return References(tokens, np.array([STYLES.index(scene.style) for scene in all_scenes]), embeddings)


def kept_embeddings(run: Run, clip_folder: Path, first_seed: int, count: int, size: int) -> NDArray[np.float32]:
    """(count, D): what the image tower sees in scenes from first_seed on, computed once and kept on disk."""
    path = data_folder() / f"embeddings-{size}-{first_seed}-{count}-{weights_sha256(clip_folder)[:12]}.npy"
    if run.rank == 0 and not path.exists():
        clip = CLIPModel.from_pretrained(clip_folder, dtype=torch.float32).eval().to(run.device)
        found = embeddings_of(clip, rendered_pictures(first_seed, count, size))
        np.save(path.with_suffix(".tmp.npy"), found)
        path.with_suffix(".tmp.npy").replace(path)
    run.barrier()
    kept: NDArray[np.float32] = np.load(path)
    return kept


@torch.no_grad()
def embeddings_of(clip: CLIPModel, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, D) of pictures (N, H, W, 3) by the image tower, before they are brought to unit length."""
    found = []
    for start in range(0, len(pictures), BATCH):
        seen = clip.vision_model(to_unit(pictures[start : start + BATCH]).to(clip.device)).pooler_output
        found.append(clip.visual_projection(seen).cpu())
    return np.asarray(torch.cat(found).numpy(), np.float32)
