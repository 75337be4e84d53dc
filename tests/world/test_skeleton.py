"""Skeletons are drawn as the field draws them, and come back from their JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from studio.errors import InvalidInput
from studio.world.maps import JOINT_COLOURS, true_map
from studio.world.pose import JOINTS
from studio.world.render import render
from studio.world.scene import scene_of_seed
from studio.world.skeleton import (
    MAX_PEOPLE,
    Skeleton,
    draw_skeletons,
    read_skeletons,
    write_skeletons,
)

WITH_PERSON = next(seed for seed in range(100) if scene_of_seed(seed).person is not None)


def without(number: int) -> Skeleton:
    joints = list(Skeleton.standing().joints)
    joints[number] = None
    return Skeleton(tuple(joints))


def test_the_map_of_a_scene_is_drawn_from_its_joints() -> None:
    rendered = render(scene_of_seed(WITH_PERSON), 128)
    assert rendered.joints is not None
    one = Skeleton.of(rendered.joints / 128, rendered.visible)
    drawn = np.asarray(draw_skeletons([one], 128, 128))
    different = (drawn != true_map("pose", rendered)).any(-1).mean()
    assert different < 0.002  # a joint on the edge between two pixels may be rounded to the other


def test_a_joint_that_is_not_shown_is_not_drawn() -> None:
    def has(skeleton: Skeleton, number: int) -> bool:
        return bool((np.asarray(draw_skeletons([skeleton], 256, 192)) == JOINT_COLOURS[number]).all(-1).any())

    wrist = JOINTS.index("left_wrist")
    assert has(Skeleton.standing(), wrist)
    assert not has(without(wrist), wrist)


def test_several_are_drawn_into_one_map() -> None:
    left, right = (Skeleton(tuple((x * 0.4 + at, y) for x, y in Skeleton.standing().joints)) for at in (0.0, 0.5))
    both = np.asarray(draw_skeletons([left, right], 128, 128)).any(-1)
    alone = [np.asarray(draw_skeletons([one], 128, 128)).any(-1) for one in (left, right)]
    assert (both == (alone[0] | alone[1])).all()


def test_a_mirrored_body_has_its_sides_swapped_and_comes_back() -> None:
    one = without(JOINTS.index("right_wrist"))
    mirrored = one.mirrored()
    assert mirrored.joints[JOINTS.index("left_wrist")] is None
    assert mirrored.joints[JOINTS.index("right_wrist")] is not None
    np.testing.assert_allclose([j or (0, 0) for j in mirrored.mirrored().joints], [j or (0, 0) for j in one.joints])


def test_a_json_comes_back() -> None:
    skeletons = (Skeleton.standing(), without(4))
    back = read_skeletons(write_skeletons(skeletons, 128, 96))
    assert [[j is None for j in one.joints] for one in back] == [[j is None for j in one.joints] for one in skeletons]
    for one, other in zip(back, skeletons, strict=True):
        np.testing.assert_allclose([j or (0, 0) for j in one.joints], [j or (0, 0) for j in other.joints], atol=1e-4)


def test_a_list_with_one_picture_is_read_too() -> None:
    text = f"[{write_skeletons([Skeleton.standing()], 64, 64)}]"
    assert len(read_skeletons(text)) == 1


def test_a_person_without_a_joint_is_nobody() -> None:
    text = write_skeletons([Skeleton((None,) * 18), Skeleton.standing()], 64, 64)
    assert len(read_skeletons(text)) == 1


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(write_skeletons([Skeleton.standing()], 64, 64)), **changes})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "no JSON"),
        ("[" * 50_000, "no JSON"),
        ("[]", "no object"),
        ("3", "no object"),
        (changed(canvas_width=0), "canvas_width"),
        (changed(canvas_height="64"), "canvas_height"),
        (changed(people={}), "people"),
        (changed(people=[]), "people"),
        (changed(people=[{"pose_keypoints_2d": [0.0] * 54}] * (MAX_PEOPLE + 1)), "people"),
        (changed(people=[{"pose_keypoints_2d": [0.0] * 53}]), "people[0]"),
        (changed(people=[{"pose_keypoints_2d": [float("nan")] * 54}]), "people[0]"),
        (changed(people=[{"pose_keypoints_2d": ["1"] * 54}]), "people[0]"),
        (changed(people=[7]), "people[0]"),
    ],
)
def test_what_is_no_skeleton_is_refused_with_the_reason(text: str, named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_skeletons(text)
    assert caught.value.key == "bad_skeleton"
    assert named in str(caught.value.values["reason"])


def test_a_text_without_end_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_skeletons(" " * 200_000)
    assert caught.value.key == "too_long"
