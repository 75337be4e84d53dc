"""What a picture took over from its references, on true renders, where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from studio.perception.measure import Measure
from studio.perception.referring import PERSON, Reference, name_of, style_name
from studio.settings import ROOT
from studio.world.caption import describe
from studio.world.render import render_image
from studio.world.scene import Scene, scene_of_seed
from studio.world.vocabulary import STYLES

SCENES = [scene_of_seed(seed) for seed in range(300)]
WITH_CAR = next(one for one in SCENES if {thing.kind for thing in one.things} == {"car"} and one.person is None)
WITH_PERSON = next(one for one in SCENES if one.person is not None and not one.things)
PROMPT = "a person in a room"


@pytest.fixture(scope="module")
def eye() -> Measure:
    return Measure.load(ROOT / "models" / "perception")


def picture(scene: Scene, style: str = "watercolour") -> Image.Image:
    return Image.fromarray(render_image(replace(scene, style=style), 128))


def test_the_style_is_that_of_the_reference_that_weighs_most(eye: Measure):
    references = [picture(WITH_CAR, "pixel"), picture(WITH_CAR, "neon")]
    assert Reference.of(eye, PROMPT, references, (0.5, 1.0)).style == "neon"
    assert Reference.of(eye, PROMPT, references, (1.0, 0.5)).style == "pixel"


def test_what_the_prompt_asks_for_is_no_stranger(eye: Measure):
    references = [picture(WITH_CAR), picture(WITH_PERSON)]
    assert Reference.of(eye, PROMPT, references, (1, 1)).strangers == ("car",)
    assert Reference.of(eye, "a car", references, (1, 1)).strangers == (PERSON,)


def test_a_picture_with_the_style_and_without_the_things_passes(eye: Measure):
    reference = Reference.of(eye, PROMPT, [picture(WITH_CAR)], (1,))
    judged = reference.judged(eye, picture(WITH_PERSON))
    assert judged.has_style and judged.style > 0.9
    assert (judged.leaked, judged.could_leak, judged.shares["leak"]) == ((), 1, 0.0)


def test_the_reference_itself_leaks_all_and_fails_the_prompt(eye: Measure):
    reference = Reference.of(eye, PROMPT, [picture(WITH_CAR)], (1,))
    judged = reference.judged(eye, picture(WITH_CAR))
    assert (judged.leaked, judged.shares["leak"]) == (("car",), 1.0)
    assert judged.held < judged.asked


def test_another_style_is_none_of_the_reference(eye: Measure):
    judged = Reference.of(eye, "", [picture(WITH_CAR)], (1,)).judged(eye, picture(WITH_CAR, "pixel"))
    assert not judged.has_style and judged.style < 0.1
    assert judged.shares["prompt"] is None


def test_the_share_of_the_prompt_is_what_the_eye_s_marks_say(eye: Measure):
    import numpy as np

    text, _ = describe(WITH_PERSON, np.random.default_rng(0), "en", complete=True, styled=False)
    judged = Reference.of(eye, text, [picture(WITH_CAR)], (1,)).judged(eye, picture(WITH_PERSON))
    assert judged.shares["prompt"] == judged.held / judged.asked > 0.5


@pytest.mark.parametrize("language", ["en", "zh"])
def test_everything_has_a_name(language: str):
    assert all(name_of(one, language) for one in ("car", PERSON))
    assert all(style_name(style, language) for style in STYLES)
