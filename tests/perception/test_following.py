"""A picture is measured against the map that it was to follow, whatever drew the map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.errors import ModelUnavailable
from studio.perception.following import Follower, Following
from studio.settings import ROOT
from studio.world.maps import MAP_KINDS, MapKind, true_map
from studio.world.render import render
from studio.world.scene import scene_of_seed
from studio.world.skeleton import Skeleton, draw_skeletons, skeleton_in

PEOPLE = [seed for seed in range(200) if scene_of_seed(seed).person is not None][:4]
MODELS = ROOT / "models"


@pytest.fixture(scope="module")
def follower() -> Follower:
    return Follower(MODELS)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(render(scene_of_seed(seed), 128).image)


def wished(kind: MapKind, seed: int) -> Image.Image:
    return Image.fromarray(true_map(kind, render(scene_of_seed(seed), 128)))


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_a_scene_follows_its_own_map_and_not_anothers(follower: Follower, kind: MapKind) -> None:
    gains = []
    for seed, other in zip(PEOPLE, PEOPLE[1:] + PEOPLE[:1], strict=True):
        found = follower.follow(kind, wished(kind, seed), picture(seed), without=picture(other))
        assert found is not None
        assert found.baseline is not None
        gains.append(found.gain if found.gain is not None else 1.0)
    assert np.mean(gains) > 0.8


def test_edges_that_are_the_maps_own_are_all_of_it(follower: Follower) -> None:
    assert follower.follow("canny", wished("canny", PEOPLE[0]), picture(PEOPLE[0])) == Following(1.0, None, 1.0)


def test_the_ceilings_are_those_of_the_heads(follower: Follower) -> None:
    told = json.loads((MODELS / "perception-heads" / "metrics.json").read_text())["metrics"]
    found = follower.follow("depth", wished("depth", PEOPLE[0]), picture(PEOPLE[0]))
    assert found is not None
    assert found.ceiling == told["depth_order_given_back"]


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_a_map_that_shows_nothing_measures_nothing(follower: Follower, kind: MapKind) -> None:
    assert follower.follow(kind, Image.new("RGB", (128, 128)), picture(PEOPLE[0])) is None


def test_the_gain_is_the_share_of_the_way_to_the_ceiling() -> None:
    assert Following(0.6, 0.2, 1.0).gain == pytest.approx(0.5)
    assert Following(0.6, None, 1.0).gain is None
    assert Following(0.6, 0.95, 0.9).gain is None


def test_without_heads_edges_are_measured_all_the_same(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    assert follower.follow("canny", wished("canny", PEOPLE[0]), picture(PEOPLE[0])) is not None
    with pytest.raises(ModelUnavailable) as caught:
        follower.follow("depth", wished("depth", PEOPLE[0]), picture(PEOPLE[0]))
    assert caught.value.key == "no_heads"


@pytest.mark.parametrize("size", [(128, 128), (512, 384)])
def test_a_drawn_skeleton_is_found_again(size: tuple[int, int]) -> None:
    one = Skeleton.standing()
    found = skeleton_in(draw_skeletons([one], *size))
    for joint, back in zip(one.joints, found.joints, strict=True):
        assert joint is not None
        if back is not None:  # covered by another one
            assert abs(joint[0] - back[0]) * size[0] < 3
            assert abs(joint[1] - back[1]) * size[1] < 3
    assert sum(back is not None for back in found.joints) >= 16
