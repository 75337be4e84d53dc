"""An eye that reads what scenes show, without looking: the oracle of everything that measures through an eye."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from studio.perception.network import ALL_KINDS, ALL_STYLES, FEATURES, Reading
from studio.world.scene import Scene
from studio.world.vocabulary import BACKGROUNDS, COLOURS, POSES

SURE = 9.0


def true_reading(scenes: Sequence[Scene]) -> Reading:
    """Logits of +SURE for what the scenes show and -SURE for the rest; features: noise of the scene's own seed."""
    people = [scene.person for scene in scenes]
    kinds = torch.full((len(scenes), len(ALL_KINDS)), -SURE)
    pairs = torch.full((len(scenes), len(ALL_KINDS), len(COLOURS)), -SURE)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            kinds[row, ALL_KINDS.index(thing.kind)] = SURE
            pairs[row, ALL_KINDS.index(thing.kind), COLOURS.index(thing.colour)] = SURE
    return Reading(
        background=_one_hot([scene.background for scene in scenes], BACKGROUNDS),
        style=_one_hot([scene.style for scene in scenes], ALL_STYLES),
        kinds=kinds,
        pairs=pairs,
        person=torch.tensor([SURE if person else -SURE for person in people]),
        character=torch.tensor([SURE if person and person.character else -SURE for person in people]),
        shirt=_one_hot([person.shirt if person else None for person in people], COLOURS),
        pants=_one_hot([person.pants if person else None for person in people], COLOURS),
        pose=_one_hot([person.pose.name if person else None for person in people], POSES),
        features=torch.stack([_features(scene.variant) for scene in scenes]),
    )


def _one_hot(values: Sequence[str | None], names: Sequence[str]) -> torch.Tensor:
    return torch.tensor([[SURE if name == value else -SURE for name in names] for value in values])


def _features(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(FEATURES))
