"""Doses of what steers a picture, for a person to compare."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from studio.engine.scales import ScalePoint
from studio.errors import InvalidInput
from studio.events import Done, Failed, Step
from studio.ui.doses import Doses, draw_doses
from tests.ui.works import picture


def points(*scales: float) -> tuple[ScalePoint, ...]:
    return tuple(ScalePoint(scale, picture(), {"prompt": min(1, scale)}) for scale in scales)


@pytest.fixture
def doses(page: gr.Blocks) -> Doses:
    return draw_doses("test", ["prompt"])


def test_two_doses_lie_side_by_side_and_nothing_else_is_shown(doses: Doses):
    two = points(0.0, 0.6)
    updates = doses.updates(Done(two), "en")
    assert updates[doses.slider]["value"] == (two[0].picture, two[1].picture)
    assert "scale 0. Right: scale 0.6" in updates[doses.found] and "<svg" not in updates[doses.found]


def test_many_doses_are_plotted_and_the_full_one_is_compared(doses: Doses):
    many = points(0.0, 0.5, 1.0, 1.5)
    updates = doses.updates(Done(many), "zh")
    assert updates[doses.slider]["value"][1] is many[2].picture
    assert updates[doses.found].count("<polyline") == 1 and updates[doses.found].count("<figcaption>") == 4 + 1


def test_a_measure_without_a_name_is_noticed_while_the_page_is_built(page: gr.Blocks):
    with pytest.raises(KeyError):
        draw_doses("test", ["nobody knows"])


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Step(2, 9, (picture(),)), "picture 2 of 9"),
        (Failed(InvalidInput("needs_image", field="reference_1")), "Reference 1 is missing"),
    ],
)
def test_until_then_it_is_told_how_far_it_is(doses: Doses, event: Any, words: str):
    updates = doses.updates(event, "en")
    assert words in updates[doses.found] and doses.slider not in updates
