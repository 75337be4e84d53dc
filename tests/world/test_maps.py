from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from studio.world.maps import (
    JOINT_COLOURS,
    LIMBS,
    MAP_KINDS,
    canny_map,
    conventional_stick,
    depth_map,
    draw_pose,
    true_map,
)
from studio.world.pose import JOINTS
from studio.world.render import Rendered, render
from studio.world.scene import scene_of_seed

PERSON_SEED = next(seed for seed in range(100) if scene_of_seed(seed).person is not None)
EVERY_JOINT = np.ones(len(JOINTS), bool)


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render(scene_of_seed(PERSON_SEED), 128)


@pytest.fixture(scope="module")
def field() -> Iterator[tuple[Any, Any]]:
    """controlnet_aux's CannyDetector and its module that draws skeletons, without what its package imports besides."""
    spec = find_spec("controlnet_aux")
    assert spec is not None and spec.submodule_search_locations is not None
    package = ModuleType("controlnet_aux")
    package.__path__ = list(spec.submodule_search_locations)
    inner = ModuleType("controlnet_aux.open_pose")
    inner.__path__ = [f"{folder}/open_pose" for folder in package.__path__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "controlnet_aux", package)
        patch.setitem(sys.modules, "controlnet_aux.open_pose", inner)
        from controlnet_aux.canny import CannyDetector
        from controlnet_aux.open_pose import util

        yield CannyDetector(), util
    for name in [name for name in sys.modules if name.startswith("controlnet_aux")]:
        del sys.modules[name]


def joints_of(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.uniform((0, 0), (width, height), (len(JOINTS), 2)).astype(np.float32)


@pytest.mark.parametrize(("height", "width", "missing"), [(512, 512, ()), (512, 512, (0, 4)), (600, 512, (1,))])
def test_a_skeleton_is_drawn_as_controlnet_aux_draws_it(field: Any, height: int, width: int, missing: tuple[int, ...]):
    joints = joints_of(np.random.default_rng(height + len(missing)), height, width)
    shown = EVERY_JOINT.copy()
    shown[list(missing)] = False
    theirs = [
        field[1].Keypoint(float(x) / width, float(y) / height) if seen else None
        for (x, y), seen in zip(joints.astype(np.float64), shown, strict=True)
    ]
    expected = field[1].draw_bodypose(np.zeros((height, width, 3), np.uint8), theirs)
    np.testing.assert_array_equal(draw_pose(joints, shown, height, width), expected)


@pytest.mark.parametrize("thresholds", [(100, 200), (40, 90)])
def test_edges_are_those_of_the_canny_detector(field: Any, rendered: Rendered, thresholds: tuple[int, int]):
    expected = field[0](rendered.image, *thresholds, detect_resolution=128, image_resolution=128)
    np.testing.assert_array_equal(canny_map(rendered.image, *thresholds), expected)


def test_limbs_join_neighbours_of_the_body():
    named = {frozenset((JOINTS[a], JOINTS[b])) for a, b in LIMBS}
    arms_and_legs = {
        frozenset((f"{side}_{a}", f"{side}_{b}"))
        for side in ("left", "right")
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("eye", "ear"))
    }
    assert arms_and_legs < named
    assert len(named) == len(LIMBS) == 17


def test_every_joint_has_its_own_colour():
    assert len(set(JOINT_COLOURS)) == len(JOINTS)


def test_a_joint_that_is_not_shown_takes_its_limbs_with_it():
    joints = joints_of(np.random.default_rng(3), 128, 128)
    shown = EVERY_JOINT.copy()
    shown[1] = False  # the neck, from which arms and legs start
    ends = {tuple(int(0.6 * c) for c in JOINT_COLOURS[i]) for i, limb in enumerate(LIMBS) if 1 in limb}
    drawn = {tuple(colour) for colour in draw_pose(joints, shown, 128, 128).reshape(-1, 3).tolist()}
    assert not ends & drawn
    assert JOINT_COLOURS[1] not in drawn


def test_nobody_is_drawn_as_black():
    hidden = np.zeros(len(JOINTS), bool)
    assert not draw_pose(np.zeros((len(JOINTS), 2), np.float32), hidden, 64, 96).any()


@pytest.mark.parametrize(("side", "stick"), [(1_024, 8), (512, 4), (256, 2), (128, 2), (32, 2)])
def test_limbs_grow_with_the_picture_but_stay_visible(side: int, stick: int):
    assert conventional_stick(side) == stick


def test_near_is_white_and_the_order_of_depths_stays():
    ramp = np.linspace(-0.2, 1.2, 50, dtype=np.float32)[None]
    drawn = depth_map(ramp)
    assert (drawn.shape, drawn.dtype) == ((1, 50, 3), np.uint8)
    assert (drawn[0, 0].tolist(), drawn[0, -1].tolist()) == ([0, 0, 0], [255, 255, 255])
    assert (np.diff(drawn[0, :, 0].astype(int)) >= 0).all()


def test_the_true_depth_is_that_of_the_render_to_a_level(rendered: Rendered):
    drawn = true_map("depth", rendered)[..., 0].astype(np.float32) / 255
    np.testing.assert_allclose(drawn, rendered.depth, atol=0.5 / 255 + 1e-6)


def test_the_true_pose_has_every_visible_joint_at_its_place(rendered: Rendered):
    assert rendered.joints is not None and rendered.visible is not None
    drawn = true_map("pose", rendered)
    # The last joints are drawn last, so that none covers them.
    for index in (16, 17):
        x, y = rendered.joints[index].astype(int)
        if rendered.visible[index]:
            assert tuple(drawn[y, x].tolist()) == JOINT_COLOURS[index]


def test_a_scene_without_a_person_has_no_pose():
    empty = next(scene for scene in map(scene_of_seed, range(100)) if scene.person is None)
    assert not true_map("pose", render(empty, 64)).any()


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_every_map_is_a_picture_of_the_same_size(kind: Any):
    drawn = true_map(kind, render(scene_of_seed(PERSON_SEED), 96))
    assert (drawn.shape, drawn.dtype) == ((96, 96, 3), np.uint8)
    assert drawn.any()


def test_edges_are_only_white_or_black(rendered: Rendered):
    assert set(np.unique(true_map("canny", rendered))) == {0, 255}
    assert cv2.countNonZero(true_map("canny", rendered)[..., 0]) > 50
