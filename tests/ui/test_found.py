"""A map is found in a picture, taken as it is, or told by the world."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studio.detectors import Detectors
from studio.engine.images import png_bytes
from studio.engine.pictures import fitted
from studio.errors import InvalidInput
from studio.settings import ROOT
from studio.types import Fit
from studio.ui.found import OWN, TRUE, Wanted, find_map, new_scene, true_map_of
from studio.world.maps import MAP_KINDS, MapKind, canny_map, true_map
from studio.world.render import render
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

SEED = next(seed for seed in range(100) if scene_of_seed(seed).person is not None)
STUDIO: Any = SimpleNamespace(detectors=Detectors(ROOT / "no-models"))


def picture() -> Image.Image:
    return Image.fromarray(render(scene_of_seed(SEED), 128).image)


def wanted(kind: MapKind = "canny", way: str = "canny", scene: int | None = None, **options: Any) -> Wanted:
    return Wanted(kind, way, scene, (128, 128), options)


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_the_true_map_of_a_square_scene_is_the_worlds_own(kind: MapKind):
    found = find_map(STUDIO, wanted(kind, TRUE, SEED), b"")
    own = true_map(kind, render(scene_of_seed(SEED), 128))
    assert np.abs(np.asarray(found.map, np.int16) - own).mean() < 0.5  # a joint is written to a thousandth
    assert bool(found.skeletons) == (kind == "pose")


@pytest.mark.parametrize("size", [(128, 96), (64, 128)])
def test_a_skeleton_is_cut_as_its_picture_is(size: tuple[int, int]):
    (skeleton,) = true_map_of("pose", SEED, size).skeletons
    rendered = render(scene_of_seed(SEED), 128)
    assert rendered.joints is not None and rendered.visible is not None
    marked = np.zeros((128, 128, 3), np.uint8)
    place = next(i for i in range(18) if rendered.visible[i] and 40 < rendered.joints[i, 0] < 88)
    x, y = rendered.joints[place]
    marked[max(0, round(float(y)) - 2) : round(float(y)) + 3, max(0, round(float(x)) - 2) : round(float(x)) + 3] = 255
    cut = np.asarray(fitted(Image.fromarray(marked), size, Fit.CROP))[..., 0]
    joint = skeleton.joints[place]
    assert joint is not None
    ys, xs = np.nonzero(cut > 128)
    if len(ys):
        assert abs(joint[0] * size[0] - xs.mean()) < 2 and abs(joint[1] * size[1] - ys.mean()) < 2


def test_a_detector_looks_with_its_thresholds():
    found = find_map(STUDIO, wanted(low=20, high=60), png_bytes(picture(), {}))
    assert (np.asarray(found.map) == canny_map(np.asarray(picture()), 20, 60)).all()


def test_a_picture_that_is_a_map_already_stays_as_it_is():
    assert find_map(STUDIO, wanted("depth", OWN), png_bytes(picture(), {})).map.tobytes() == picture().tobytes()


@pytest.mark.parametrize(
    ("asked", "data", "key"),
    [
        (wanted(low=300, high=1), None, "bad_number"),
        (wanted(way="sobel"), None, "not_a_choice"),
        (wanted(), b"no picture", "upload_no_picture"),
    ],
)
def test_what_cannot_be_found_is_refused(asked: Wanted, data: bytes | None, key: str):
    with pytest.raises(InvalidInput) as refused:
        find_map(STUDIO, asked, data or png_bytes(picture(), {}))
    assert refused.value.key == key


def test_a_new_scene_is_held_out_and_for_a_pose_somebody_is_there():
    for _ in range(5):
        seed, shown, caption = new_scene("pose", (96, 64), "en")
        assert seed >= FIRST_HELD_OUT_SEED and scene_of_seed(seed).person is not None
        assert shown.size == (96, 96) and caption
