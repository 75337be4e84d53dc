"""Pictures, and the words under them."""

from __future__ import annotations

import re
from dataclasses import replace

import gradio as gr
import pytest
from PIL import Image

from studio.events import Decoding, Step
from studio.perception.measure import Mark
from studio.types import MAX_IMAGES, Task
from studio.ui.pictures import Pictures, draw_pictures
from tests.ui.works import picture, result

BALL = Mark({"en": "red ball", "zh": "红球"}, holds=True, confidence=0.93, ceiling=0.98)
BEACH = Mark({"en": "beach", "zh": "沙滩"}, holds=False, confidence=0.12, ceiling=0.95)


@pytest.fixture
def pictures(page: gr.Blocks) -> Pictures:
    return draw_pictures()


def test_a_step_shows_as_many_pictures_as_it_has(pictures: Pictures):
    updates = pictures.preview(Step(1, 2, (picture(), picture())))
    shown = [updates[tile.column]["visible"] for tile in pictures.tiles]
    assert shown == [True, True] + [False] * (MAX_IMAGES - 2)
    assert updates[pictures.empty]["visible"] is False


@pytest.mark.parametrize("event", [Step(1, 2), Decoding()])
def test_an_event_without_pictures_leaves_those_that_are_there(pictures: Pictures, event: Step | Decoding):
    assert pictures.preview(event) == {}


def test_a_result_says_its_time_without_the_loading(pictures: Pictures):
    told = pictures.finished(result(), "en", "")[pictures.numbers]
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", told)
    assert pairs == [("Time", "1.00 s"), ("Steps per second", "20.0"), ("Peak memory", "1,024 MB")]


def test_a_picture_from_a_picture_counts_the_steps_that_ran(pictures: Pictures):
    whole = result()
    half = replace(whole, request=replace(whole.request, task=Task.IMAGE_TO_IMAGE, strength=0.5))
    assert "<dd>10.0</dd>" in pictures.finished(half, "en", "")[pictures.numbers]


def test_what_can_be_done_with_a_picture_comes_with_the_finished_one(pictures: Pictures):
    row = pictures.tiles[0].actions.bar
    assert pictures.preview(Step(1, 2, (picture(),)))[row]["visible"] is False
    assert pictures.finished(result(), "en", "")[row]["visible"] is True


def test_each_picture_tells_its_own_seed(pictures: Pictures):
    updates = pictures.finished(result(num_images=2), "en", "")
    assert "seed 7" in updates[pictures.tiles[0].caption]
    assert "seed 8" in updates[pictures.tiles[1].caption]


def test_each_picture_says_how_it_was_drawn(pictures: Pictures):
    updates = pictures.finished(result(num_images=2), "en", "")
    with Image.open(updates[pictures.tiles[1].image]) as picture:
        assert "Seed: 8" in picture.info["parameters"]


def test_a_mark_differs_by_sign_and_not_by_colour_alone(pictures: Pictures):
    caption = pictures.measured(result(), [(BALL, BEACH)], "en", "")[pictures.tiles[0].caption]
    assert "red ball ✓" in caption
    assert "beach ✗" in caption


def test_marks_speak_the_persons_language(pictures: Pictures):
    assert "红球 ✓" in pictures.measured(result(), [(BALL,)], "zh", "")[pictures.tiles[0].caption]


def test_the_small_print_names_the_lowest_ceiling(pictures: Pictures):
    assert "95.0%" in pictures.measured(result(), [(BALL, BEACH)], "en", "")[pictures.note]


def test_a_prompt_without_wishes_says_so(pictures: Pictures):
    assert "nothing" in pictures.measured(result(), [()], "en", "")[pictures.note]


def test_a_label_cannot_bring_markup(pictures: Pictures):
    mark = Mark({"en": "<img src=x>", "zh": ""}, holds=True, confidence=1.0, ceiling=1.0)
    assert "<img" not in pictures.measured(result(), [(mark,)], "en", "")[pictures.tiles[0].caption]
