from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from studio.world import vocabulary
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, anything_of_seed, is_held_out, scene_of_seed

COUNT = 3_000


@pytest.fixture(scope="module")
def training() -> list[Scene]:
    return [scene_of_seed(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def anything() -> list[Scene]:
    return [anything_of_seed(seed) for seed in range(COUNT)]


def test_a_seed_gives_the_same_scene_again(training: list[Scene]):
    assert [scene_of_seed(seed) for seed in range(50)] == training[:50]


def test_training_shows_no_held_out_combination(training: list[Scene]):
    pairs = {(thing.colour, thing.kind) for scene in training for thing in scene.things}
    places = {(thing.kind, scene.background) for scene in training for thing in scene.things}
    styles = {(thing.kind, scene.style) for scene in training for thing in scene.things}
    assert not pairs & set(vocabulary.HELD_OUT_COLOURED)
    assert not places & set(vocabulary.HELD_OUT_PLACED)
    assert not styles & set(vocabulary.HELD_OUT_STYLED)


def test_training_shows_no_reserved_concept(training: list[Scene]):
    assert {scene.style for scene in training} == set(vocabulary.STYLES)
    assert {thing.kind for scene in training for thing in scene.things} == set(vocabulary.KINDS)
    assert all(scene.person.character is None for scene in training if scene.person)


def test_the_whole_world_shows_every_reserved_concept(anything: list[Scene]):
    assert {scene.style for scene in anything} >= set(vocabulary.RESERVED_STYLES)
    assert {thing.kind for scene in anything for thing in scene.things} >= set(vocabulary.RESERVED_KINDS)
    assert {scene.person.character for scene in anything if scene.person} >= set(vocabulary.RESERVED_CHARACTERS)


def test_scenes_for_measuring_are_not_among_those_for_training(training: list[Scene]):
    measured = {scene_of_seed(FIRST_HELD_OUT_SEED + i) for i in range(COUNT)}
    assert not measured & set(training)


def test_every_held_out_combination_is_one():
    rng = np.random.default_rng(0)
    scenes = [Scene.sample_held_out_combination(rng) for _ in range(200)]
    assert all(is_held_out(scene) for scene in scenes)
    assert {scene.things[0].kind for scene in scenes} == {"umbrella", "star", "cat"}


def test_white_is_never_on_snow(training: list[Scene], anything: list[Scene]):
    rng = np.random.default_rng(1)
    unseen = [Scene.sample_held_out_combination(rng) for _ in range(500)]
    for scene in (*training, *anything, *unseen):
        if scene.background == "snow":
            assert all(thing.colour != "white" for thing in scene.things)
            assert scene.person is None or "white" not in (scene.person.shirt, scene.person.pants)


def test_two_things_never_share_kind_and_colour(training: list[Scene], anything: list[Scene]):
    for scene in (*training, *anything):
        assert len({(thing.kind, thing.colour) for thing in scene.things}) == len(scene.things)


def test_entities_come_from_far_to_near(training: list[Scene]):
    for scene in training[:200]:
        feet = [entity.base_y for entity in scene.entities]
        assert feet == sorted(feet)


def test_the_numbers_of_things_and_people_are_as_documented(training: list[Scene]):
    counts = Counter((len(scene.things), scene.person is not None) for scene in training)
    expected = {(1, False): 0.38, (2, False): 0.30, (0, True): 0.14, (1, True): 0.15, (2, True): 0.03}
    assert {key: count / COUNT for key, count in counts.items()} == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("most", [1, 2])
def test_a_scene_has_at_most_as_many_entities_as_asked_for(most: int):
    assert {len(scene_of_seed(seed, most).entities) for seed in range(200)} <= set(range(1, most + 1))
