"""The editor of skeletons: what its script is given, and what it takes."""

from __future__ import annotations

import json

import gradio as gr
import pytest

from studio.errors import InvalidInput
from studio.text import LANGUAGES, table
from studio.ui.skeleton import SAYINGS, draw_skeleton, given, resized, texts
from studio.world.maps import JOINT_COLOURS, LIMBS
from studio.world.pose import JOINTS, PROTOTYPES
from studio.world.skeleton import Skeleton, read_skeletons, write_skeletons

START = write_skeletons([Skeleton.standing()], 128, 128)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_joint_pose_and_button_has_its_own_words(language: str):
    said = texts(language)
    assert len(set(said["joints"])) == len(JOINTS)
    assert set(said["examples"]) == set(PROTOTYPES)
    assert all(said[name] for name in SAYINGS)
    assert "{x}" in said["place"] and "{y}" in said["place"] and "{reason}" in said["bad"]
    assert {f"skeleton.{name}" for name in SAYINGS} <= table(language).keys()


def test_the_script_draws_openpose_with_what_it_is_given():
    told = json.loads(json.dumps(given()))
    assert told["joints"] == list(JOINTS)
    assert [tuple(limb) for limb in told["limbs"]] == list(LIMBS)
    assert [tuple(colour) for colour in told["colours"]] == list(JOINT_COLOURS)
    assert [told["mirror"][place] for place in told["mirror"]] == list(range(len(JOINTS)))


@pytest.mark.parametrize("name", PROTOTYPES)
def test_an_example_is_a_whole_body_inside_the_picture(name: str):
    joints = given()["examples"][name]
    assert len(joints) == len(JOINTS)
    assert all(0 < share < 1 for joint in joints for share in joint)


def test_a_skeleton_keeps_its_shares_on_another_canvas():
    (before,), (after,) = read_skeletons(START), read_skeletons(resized(START, 512, 256))
    assert [joint for joint in after.joints if joint] == [
        pytest.approx(joint, abs=1e-4) for joint in before.joints if joint
    ]
    assert json.loads(resized(START, 512, 256))["canvas_height"] == 256


def test_the_editor_begins_with_somebody_who_stands(page: gr.Blocks):
    editor = draw_skeleton("test", 128, 128)
    assert editor.value == START
    assert str(editor.js_on_load).startswith("const given = {")


@pytest.mark.parametrize("text", ["", "[]", '{"people": []}', "x" * 200_000])
def test_what_is_no_skeleton_is_refused_with_a_reason(text: str):
    with pytest.raises(InvalidInput) as refused:
        resized(text, 128, 128)
    assert refused.value.values["field"] == "json"
