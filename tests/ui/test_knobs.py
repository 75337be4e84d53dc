"""Knobs that are one widget: what they are told of, and what they give back."""

from __future__ import annotations

import json

import gradio as gr
import pytest

from studio.errors import InvalidInput
from studio.types import Param
from studio.ui.knobs import draw_knobs, read_knobs, write_knobs

KNOBS = (Param("rank", "int", 0, 0, 64, 1), Param("mid_block", "float", 1, 0, 2, 0.05))
KEYS = {"rank": "loras.cut", "mid_block": "loras.of.mid_block"}


def test_what_is_written_is_read_back_without_what_is_as_usual():
    assert read_knobs(write_knobs({"rank": 4, "mid_block": 1.0}), KNOBS, "finer") == {"rank": 4}
    assert read_knobs(write_knobs({"mid_block": 0.35}), KNOBS, "finer") == {"mid_block": 0.35}


@pytest.mark.parametrize("value", [None, "", "{}"])
def test_a_widget_that_nobody_touched_says_nothing(value: object):
    assert read_knobs(value, KNOBS, "finer") == {}


@pytest.mark.parametrize(
    ("value", "key", "field"),
    [
        ("{", "bad_knobs", "finer"),
        ("[1]", "bad_knobs", "finer"),
        (3, "bad_knobs", "finer"),
        ("[" * 5_000, "bad_knobs", "finer"),
        ('{"attic": 1}', "bad_knobs", "finer"),
        ('{"rank": 65}', "bad_whole_number", "rank"),
        ('{"rank": 1.5}', "bad_whole_number", "rank"),
        ('{"rank": true}', "bad_whole_number", "rank"),
        ('{"mid_block": -0.1}', "bad_number", "mid_block"),
        ('{"mid_block": NaN}', "bad_number", "mid_block"),
        ('{"mid_block": "1"}', "bad_number", "mid_block"),
    ],
)
def test_a_wrong_value_is_refused_by_its_knob(value: object, key: str, field: str):
    with pytest.raises(InvalidInput) as refused:
        read_knobs(value, KNOBS, "finer")
    assert (refused.value.key, refused.value.values["field"]) == (key, field)


def test_the_script_is_given_bounds_and_names_in_both_languages(page: gr.Blocks):
    script = str(draw_knobs("x", "loras.finer", KNOBS, KEYS).js_on_load)
    given = json.loads(script.partition("const given = ")[2].partition(";\n")[0])
    assert given["knobs"][1] == {"name": "mid_block", "minimum": 0, "maximum": 2, "step": 0.05, "usual": 1}
    assert given["texts"]["en"]["knobs"]["mid_block"] != given["texts"]["zh"]["knobs"]["mid_block"]
    assert given["prefix"] == "x"
