"""What the eye should read: the labels of scenes, and how often it reads them right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studio.perception.network import ALL_KINDS, ALL_STYLES, Eye, as_input
from studio.world.scene import Scene
from studio.world.vocabulary import BACKGROUNDS, COLOURLESS_STYLES, COLOURS, POSES

BATCH = 64


@dataclass(frozen=True)
class Labels:
    """What N scenes show; -1, and `coloured` 0, where it cannot be seen.

    background, style, shirt, pants, pose: (N,) indices; kinds: (N, 11); pairs: (N, 11, 8), a kind in a colour;
    coloured, person, character: (N,).
    """

    background: NDArray[np.int64]
    style: NDArray[np.int64]
    kinds: NDArray[np.float32]
    pairs: NDArray[np.float32]
    coloured: NDArray[np.float32]
    person: NDArray[np.float32]
    character: NDArray[np.float32]
    shirt: NDArray[np.int64]
    pants: NDArray[np.int64]
    pose: NDArray[np.int64]

    def rows(self, picks: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
        """The labels of some scenes, by name."""
        return {name: torch.from_numpy(getattr(self, name)[picks]).to(device) for name in self.__dataclass_fields__}


def labels_of(scenes: Sequence[Scene]) -> Labels:
    """The labels of scenes of the whole world."""
    n = len(scenes)
    labels = Labels(
        background=np.array([BACKGROUNDS.index(scene.background) for scene in scenes]),
        style=np.array([ALL_STYLES.index(scene.style) for scene in scenes]),
        kinds=np.zeros((n, len(ALL_KINDS)), np.float32),
        pairs=np.zeros((n, len(ALL_KINDS), len(COLOURS)), np.float32),
        coloured=np.array([scene.style not in COLOURLESS_STYLES for scene in scenes], np.float32),
        person=np.array([scene.person is not None for scene in scenes], np.float32),
        character=np.array([bool(scene.person and scene.person.character) for scene in scenes], np.float32),
        shirt=np.full(n, -1),
        pants=np.full(n, -1),
        pose=np.full(n, -1),
    )
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            kind = ALL_KINDS.index(thing.kind)
            labels.kinds[row, kind] = 1
            labels.pairs[row, kind, COLOURS.index(thing.colour)] = 1
        if scene.person is not None:
            labels.pose[row] = POSES.index(scene.person.pose.name)
            if labels.coloured[row] and scene.person.character is None:
                labels.shirt[row] = COLOURS.index(scene.person.shirt)
                labels.pants[row] = COLOURS.index(scene.person.pants)
    return labels


@torch.no_grad()
def accuracies(eye: Eye, pictures: NDArray[np.uint8], scenes: Sequence[Scene]) -> dict[str, float]:
    """How often the eye reads renders (N, 128, 128, 3) of these scenes right: the ceiling of all that it measures.

    kind_precision is over the kinds that it sees, colour over the kinds that it sees rightly; 0 where there are none.
    """
    labels = labels_of(scenes)
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(scenes), BATCH):
        picks = np.arange(start, min(start + BATCH, len(scenes)))
        reading, truth = eye(as_input(pictures[picks])), labels.rows(picks, torch.device("cpu"))
        for name in ("background", "style", "shirt", "pants", "pose"):
            known = truth[name] >= 0
            found.setdefault(name, []).append((getattr(reading, name).argmax(1) == truth[name])[known])
        for name in ("person", "character"):
            found.setdefault(name, []).append((getattr(reading, name) > 0) == (truth[name] > 0))
        seen, there = reading.kinds > 0, truth["kinds"] > 0
        found.setdefault("kind_recall", []).append(seen[there])
        found.setdefault("kind_precision", []).append(there[seen])
        coloured = (truth["kinds"] * truth["coloured"][:, None]) > 0
        right = truth["pairs"].gather(2, reading.pairs.argmax(2, keepdim=True))[..., 0] > 0
        found.setdefault("colour", []).append(right[coloured & seen])
    return {name: _share(torch.cat(parts)) for name, parts in found.items()}


def _share(right: Tensor) -> float:
    """The share of True, to four digits; 0 of nothing."""
    return round(float(right.float().mean()), 4) if len(right) else 0.0
