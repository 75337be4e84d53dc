from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studio.train import places
from studio.train.hints import exact_hint, map_sources, spoilt_hint, usable_rows
from studio.world.maps import MAP_KINDS, true_map
from studio.world.render import render
from studio.world.scene import scene_of_seed

COUNT, SIZE = 24, 64


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", Path(tmp_path_factory.mktemp("runs")))
        yield {kind: map_sources(kind, 0, COUNT, SIZE) for kind in MAP_KINDS}


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_an_exact_hint_is_the_true_map_of_its_scene(sources: dict[str, Any], kind: Any):
    for row in usable_rows(kind, sources[kind])[:6]:
        expected = true_map(kind, render(scene_of_seed(int(row)), SIZE))
        np.testing.assert_array_equal(exact_hint(kind, sources[kind][row], SIZE), expected)


def test_only_scenes_with_a_person_have_a_pose(sources: dict[str, Any]):
    people = [seed for seed in range(COUNT) if scene_of_seed(seed).person is not None]
    assert usable_rows("pose", sources["pose"]).tolist() == people
    assert 0 < len(people) < COUNT
    assert len(usable_rows("depth", sources["depth"])) == COUNT


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_spoilt_hints_differ_from_each_other_but_show_the_same(sources: dict[str, Any], kind: Any):
    source = sources[kind][usable_rows(kind, sources[kind])[0]]
    exact, rng = exact_hint(kind, source, SIZE).astype(float), np.random.default_rng(0)
    spoilt = [spoilt_hint(kind, source, SIZE, rng) for _ in range(40)]
    assert all(one.shape == exact.shape and one.dtype == np.uint8 for one in spoilt)
    assert len({one.tobytes() for one in spoilt}) > 15
    alike = [np.corrcoef(one.ravel().astype(float), exact.ravel())[0, 1] for one in spoilt]
    assert np.median(alike) > 0.6


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_the_same_random_stream_spoils_alike(sources: dict[str, Any], kind: Any):
    source = sources[kind][usable_rows(kind, sources[kind])[0]]
    first, second = (spoilt_hint(kind, source, SIZE, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_spoiling_leaves_the_source_alone(sources: dict[str, Any]):
    for kind in MAP_KINDS:
        source = np.array(sources[kind][usable_rows(kind, sources[kind])[0]])
        before, rng = source.copy(), np.random.default_rng(1)
        for _ in range(20):
            spoilt_hint(kind, source, SIZE, rng)
        np.testing.assert_array_equal(source, before)


def test_joints_go_missing_and_hidden_ones_are_guessed(sources: dict[str, Any]):
    source = np.array(sources["pose"][usable_rows("pose", sources["pose"])[0]])
    source[:, 2] = 1
    source[0, 2] = 0  # the nose is hidden
    rng = np.random.default_rng(2)
    nose = tuple(exact_hint("pose", np.where(np.arange(18)[:, None] == 0, [*source[0, :2], 1], source), SIZE).shape)
    assert nose == (SIZE, SIZE, 3)
    drawn = [spoilt_hint("pose", source, SIZE, rng) for _ in range(80)]
    red = [bool((one == (255, 0, 0)).all(-1).any()) for one in drawn]  # the nose's own colour
    ankle = [bool((one == (0, 85, 255)).all(-1).any()) for one in drawn]
    assert 0.1 < np.mean(red) < 0.6
    assert 0.7 < np.mean(ankle) < 1
