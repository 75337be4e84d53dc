from __future__ import annotations

import numpy as np
import pytest

from studio.world.pose import FOOT, JOINTS, PROTOTYPES, sample_pose, skeleton
from studio.world.vocabulary import POSES

SWAPPED = [
    JOINTS.index(name.replace("right", "LEFT").replace("left", "right").replace("LEFT", "left")) for name in JOINTS
]


def test_every_pose_has_a_prototype():
    assert set(PROTOTYPES) == set(POSES)


@pytest.mark.parametrize("name", POSES)
def test_a_mirrored_pose_mirrors_the_skeleton(name: str):
    pose = sample_pose(name, np.random.default_rng(0))
    mirrored = skeleton(pose.mirrored(), 0.3, 0.9, 0.7)
    expected = skeleton(pose, 0.3, 0.9, 0.7)[SWAPPED]
    expected[:, 0] = 0.6 - expected[:, 0]
    np.testing.assert_allclose(mirrored, expected, atol=1e-12)


@pytest.mark.parametrize("name", POSES)
def test_a_pose_mirrored_twice_is_itself(name: str):
    assert PROTOTYPES[name].mirrored().mirrored() == PROTOTYPES[name]


@pytest.mark.parametrize("name", POSES)
def test_the_lower_ankle_is_a_foot_and_the_lift_above_the_ground(name: str):
    pose, height = sample_pose(name, np.random.default_rng(1)), 0.7
    ankles = skeleton(pose, 0.5, 0.9, height)[[JOINTS.index("right_ankle"), JOINTS.index("left_ankle")], 1]
    assert ankles.max() == pytest.approx(0.9 - height * (FOOT + pose.lift))


def test_only_a_jump_leaves_the_ground():
    rng = np.random.default_rng(2)
    assert {name for name in POSES if sample_pose(name, rng).lift > 0} == {"jumping"}


def test_the_persons_right_faces_us_at_the_left():
    joints = skeleton(PROTOTYPES["standing"], 0.5, 0.9, 0.7)
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear"):
        assert joints[JOINTS.index(f"right_{part}"), 0] < 0.5 < joints[JOINTS.index(f"left_{part}"), 0]
