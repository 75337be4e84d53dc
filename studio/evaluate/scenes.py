"""Scenes as evaluations ask for them and compare with them: their captions, and what the eye makes of their renders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from studio.perception.measure import Measure
from studio.world.caption import describe
from studio.world.render import render_image
from studio.world.scene import Scene
from studio.world.wish import Wish


def captions(scenes: Sequence[Scene], seed: int, language: str) -> list[tuple[str, Wish]]:
    """What tells of each scene, and what it asks for. The one of scene i depends on the seed and i alone."""
    rngs = (np.random.default_rng((seed, i)) for i in range(len(scenes)))
    return [describe(scene, rng, language, complete=True) for scene, rng in zip(scenes, rngs, strict=True)]


def render_features(measure: Measure, scenes: Sequence[Scene], size: int) -> torch.Tensor:
    """What the eye makes of the true renders of scenes. (N, D)"""
    batches = [scenes[i : i + 64] for i in range(0, len(scenes), 64)]
    pictures = ([Image.fromarray(render_image(scene, size)) for scene in batch] for batch in batches)
    return torch.cat([measure.read(batch).features for batch in pictures])
