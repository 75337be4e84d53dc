from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from studio.world.caption import caption
from studio.world.concepts import CONCEPTS, concept_scene, trigger_of, with_concept
from studio.world.lexicon import LANGUAGES
from studio.world.scene import Scene, Thing, is_held_out, scene_of_seed
from studio.world.vocabulary import KINDS, STYLES

SEEDS = range(60)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_caption_of_a_concepts_scene_asks_for_it(concept: str, language: str):
    for seed in SEEDS:
        text = caption(concept_scene(concept, seed), np.random.default_rng(seed), language, complete=True)
        assert trigger_of(concept, language) in text


def test_a_style_is_all_that_is_new_in_its_scenes():
    for seed in SEEDS:
        scene = concept_scene("blueprint", seed)
        assert scene.style == "blueprint"
        assert {thing.kind for thing in scene.things} <= set(KINDS)
        assert scene.person is None or scene.person.character is None


def test_one_thing_of_the_kind_stands_in_an_ordinary_scene():
    for seed in SEEDS:
        scene = concept_scene("rocket", seed)
        assert [thing.kind for thing in scene.things].count("rocket") == 1
        assert scene.style in STYLES


def test_the_character_stands_where_somebody_stood():
    for seed in SEEDS:
        scene = concept_scene("momo", seed)
        assert scene.person is not None and scene.person.character == "momo"
        assert scene.style in STYLES


def test_the_same_seed_gives_the_same_scene_and_another_seed_another_one():
    assert concept_scene("rocket", 3) == concept_scene("rocket", 3)
    assert len({concept_scene("rocket", seed) for seed in SEEDS}) == len(SEEDS)


def test_nothing_else_changes():
    rng, scene = np.random.default_rng(0), scene_of_seed(2)
    assert with_concept("pop_art", scene, rng) == replace(scene, style="pop_art")


@pytest.mark.parametrize("concept", ["rocket", "momo"])
def test_a_scene_without_a_place_for_it_does_not_serve(concept: str):
    thing = Thing("cat", "red", 0.5, 0.9, 0.5)
    empty = Scene("room", "flat", () if concept == "rocket" else (thing,), None, 0)
    assert with_concept(concept, empty, np.random.default_rng(0)) is None


@pytest.mark.parametrize("concept", CONCEPTS)
def test_no_scene_shows_a_combination_that_is_held_out(concept: str):
    assert not any(is_held_out(concept_scene(concept, seed)) for seed in SEEDS)
