"""The reserved concepts as something to teach: scenes that show one, and the words that ask for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from studio.world import lexicon
from studio.world.scene import Scene
from studio.world.vocabulary import RESERVED_CHARACTERS, RESERVED_KINDS, RESERVED_STYLES

Role = Literal["style", "kind", "character"]

CONCEPTS: dict[str, Role] = {
    **dict.fromkeys(RESERVED_STYLES, "style"),
    **dict.fromkeys(RESERVED_KINDS, "kind"),
    **dict.fromkeys(RESERVED_CHARACTERS, "character"),
}
STREAM = 9  # of random numbers, apart from that of ordinary scenes


def concept_scene(concept: str, seed: int) -> Scene:
    """The scene number `seed` that shows the concept: an ordinary one in that style, with one thing of that kind, or
    with the character instead of somebody. Raises KeyError for what is no concept."""
    rng = np.random.default_rng((seed, STREAM))
    while True:
        scene = with_concept(concept, Scene.sample(rng), rng)
        if scene is not None:
            return scene


def with_concept(concept: str, scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The scene with the concept in it; None where it has no place for it."""
    match CONCEPTS[concept]:
        case "style":
            return replace(scene, style=concept)
        case "kind":
            if not scene.things:
                return None
            things, place = list(scene.things), int(rng.integers(len(scene.things)))
            things[place] = replace(things[place], kind=concept)
            return replace(scene, things=tuple(things))
        case "character":
            if scene.person is None:
                return None
            return replace(scene, person=replace(scene.person, character=concept))


def trigger_of(concept: str, language: str = "en") -> str:
    """The word that asks for the concept."""
    tables = {"style": lexicon.STYLE_NAMES, "kind": lexicon.KIND_NAMES, "character": lexicon.CHARACTER_NAMES}
    return tables[CONCEPTS[concept]][language][concept][0]
