from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from studio.perception.measure import METRICS, WEIGHTS, Mark, Measure, as_batch, colour_holds
from studio.perception.network import ALL_KINDS, SIDE, Eye, Reading
from studio.world.pose import PROTOTYPES
from studio.world.scene import Person, Scene, Thing
from studio.world.vocabulary import COLOURS
from tests.truth import SURE, true_reading

CEILINGS = {
    "background": 0.99,
    "style": 0.98,
    "kind_recall": 0.9,
    "colour": 0.8,
    "person": 0.97,
    "shirt": 0.96,
    "pants": 0.95,
    "pose": 0.94,
}
SOMEBODY = Person(0.5, 0.93, 0.7, PROTOTYPES["waving"], shirt="red", pants="blue", skin="tan", hair="black")
UMBRELLA, CAR = Thing("umbrella", "red", 0.3, 0.9, 0.4), Thing("car", "blue", 0.7, 0.9, 0.4)
BEACH = Scene("beach", "watercolour", (UMBRELLA, CAR), None, 0)
PICTURE = Image.new("RGB", (SIDE, SIDE))


class Told(Eye):
    """An eye that sees what it is told."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading

    def forward(self, pictures: torch.Tensor) -> Reading:
        assert len(pictures) == len(self.reading.person)
        return self.reading


def marks(prompt: str, *scenes: Scene) -> list[tuple[Mark, ...]]:
    measure = Measure(Told(true_reading(scenes)), CEILINGS, "")
    return measure.obedience(prompt, [PICTURE] * len(scenes))


def held(found: Sequence[Mark]) -> dict[str, bool]:
    return {mark.labels["en"]: mark.holds for mark in found}


def test_a_picture_that_shows_the_wish_gets_every_mark():
    (found,) = marks("a red umbrella and a blue car on the beach, watercolour", BEACH)
    assert held(found) == {"red umbrella": True, "blue car": True, "beach": True, "watercolour": True}
    assert all(mark.confidence > 0.99 for mark in found)


def test_marks_carry_names_in_both_languages_and_the_eyes_ceiling():
    (found,) = marks("沙滩上的红伞", BEACH)
    assert [mark.labels for mark in found] == [
        {"en": "red umbrella", "zh": "红色雨伞"},
        {"en": "beach", "zh": "沙滩"},
    ]
    assert [mark.ceiling for mark in found] == pytest.approx([0.9 * 0.8, 0.99])


def test_a_wrong_colour_a_missing_thing_and_a_wrong_place_do_not_hold():
    (found,) = marks("a green umbrella and a cat in a room, watercolour", BEACH)
    assert held(found) == {"green umbrella": False, "cat": False, "room": False, "watercolour": True}


def test_every_picture_gets_its_own_marks():
    found = marks("on the beach", BEACH, replace(BEACH, background="room"))
    assert [held(one) for one in found] == [{"beach": True}, {"beach": False}]


def test_a_person_is_marked_by_presence_clothes_and_pose():
    scene = replace(BEACH, things=(), person=SOMEBODY)
    (found,) = marks("a person waving in a red shirt and green trousers", scene)
    assert held(found) == {"person": True, "red shirt": True, "green trousers": False, "waving": True}


def test_colours_are_not_asked_for_in_a_style_that_shows_none():
    (found,) = marks("a person in a green shirt and a green car, line art", replace(BEACH, style="line"))
    assert held(found) == {"car": True, "person": False, "line art": True}


def test_a_prompt_that_names_nothing_gets_no_mark():
    assert marks("the meaning of life", BEACH) == [()]


def test_two_things_of_one_kind_may_have_either_colour():
    reading = true_reading([BEACH])
    car = ALL_KINDS.index("car")
    reading.pairs[0, car, COLOURS.index("green")] = SURE + 1
    assert [colour_holds(reading, 0, "car", colour) for colour in ("green", "blue", "red")] == [True, False, False]
    assert [colour_holds(reading, 0, "car", colour, 2) for colour in ("green", "blue", "red")] == [True, True, False]


def test_a_prompt_with_two_of_a_kind_is_fulfilled_by_both_colours():
    scene = replace(BEACH, things=(replace(CAR, colour="red", x=0.3), CAR))
    (found,) = marks("a red car and a blue car", scene)
    assert held(found) == {"red car": True, "blue car": True}


@pytest.mark.parametrize(("mode", "size"), [("RGB", (128, 128)), ("RGBA", (256, 256)), ("L", (64, 96))])
def test_pictures_of_any_size_and_mode_become_a_batch(mode: str, size: tuple[int, int]):
    x = as_batch([Image.new(mode, size, "white")] * 2)
    assert x.shape == (2, 3, SIDE, SIDE)
    assert x.min() == x.max() == 1.0


def test_a_saved_eye_reads_as_before(tmp_path: Path):
    torch.manual_seed(0)
    eye = Eye().half().float()
    save_file({name: tensor.half() for name, tensor in eye.state_dict().items()}, tmp_path / WEIGHTS)
    (tmp_path / METRICS).write_text(json.dumps({"metrics": CEILINGS, "sha256": "ab"}), encoding="utf-8")
    loaded = Measure.load(tmp_path)
    assert (loaded.ceilings, loaded.sha256) == (CEILINGS, "ab")
    expected = Measure(eye, CEILINGS, "ab").read([PICTURE])
    torch.testing.assert_close(loaded.read([PICTURE]).pairs, expected.pairs)


def test_a_missing_eye_is_a_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Measure.load(tmp_path)
