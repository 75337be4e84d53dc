"""AUTOMATIC1111's text, composed and taken apart."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.engine.parameters import NEGATIVE_PROMPT, Parameters, compose, parse, split_sampler

SAMPLE = """a castle, (sunset:1.2),
<lora:stones:0.8> by the sea
Negative prompt: blurry,
low quality
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model hash: 6ce0161689, \
Model: v1-5, Lora hashes: "stones: 0123456789ab, waves: ba9876543210", Version: v1.10.1"""
SETTINGS = "Steps: 20, Sampler: Euler a, CFG scale: 7"


def test_a_text_of_several_lines_is_taken_apart():
    parsed = parse(SAMPLE)
    assert parsed.prompt == "a castle, (sunset:1.2),\n<lora:stones:0.8> by the sea"
    assert parsed.negative_prompt == "blurry,\nlow quality"
    assert list(parsed.settings)[:7] == [
        "Steps",
        "Sampler",
        "Schedule type",
        "CFG scale",
        "Seed",
        "Size",
        "Model hash",
    ]
    assert parsed.settings["Sampler"] == "DPM++ 2M"
    assert parsed.settings["Version"] == "v1.10.1"


def test_a_quoted_value_keeps_its_commas():
    assert parse(SAMPLE).settings["Lora hashes"] == "stones: 0123456789ab, waves: ba9876543210"


def test_a_quoted_value_may_hold_quotes():
    settings = {"Steps": 1, "Module": 'say "a, b\\"', "Model": "m", "Size": "8x8"}
    assert parse(compose("p", "", settings)).settings["Module"] == 'say "a, b\\"'


def test_fewer_than_three_pairs_belong_to_the_prompt():
    text = "two lines\nSteps: 20, Sampler: Euler"
    assert parse(text) == Parameters(text, "", {})


@pytest.mark.parametrize("text", [SETTINGS, f"\n{SETTINGS}\n"])
def test_a_prompt_may_be_empty(text: str):
    assert parse(text).prompt == ""
    assert parse(text).settings["CFG scale"] == "7"


def test_carriage_returns_are_no_part_of_a_value():
    parsed = parse(f"one\r\nNegative prompt: two\r\n{SETTINGS}\r\n")
    assert (parsed.prompt, parsed.negative_prompt, parsed.settings["CFG scale"]) == ("one", "two", "7")


@pytest.mark.parametrize(
    "line", ["garbage, Steps: 20, Sampler: Euler, Seed: 3", 'Steps: 20, "a": 1, Sampler: b, Seed: 3']
)
def test_what_is_no_pair_is_passed_over(line: str):
    settings = parse(f"p\n{line}").settings
    assert set(settings) == {"Steps", "Sampler", "Seed"}


def test_a_quote_that_is_not_closed_ends_at_the_comma():
    assert parse(f'p\n{SETTINGS}, Model: "open, Seed: 3').settings["Model"] == '"open'


def test_an_empty_negative_prompt_has_no_line():
    assert NEGATIVE_PROMPT not in compose("p", "", {"Steps": 1})


def test_a_setting_without_a_value_is_left_out():
    assert compose("p", "", {"Steps": 1, "Model hash": None}) == "p\nSteps: 1"


@pytest.mark.parametrize(
    ("name", "sampler", "schedule"),
    [
        ("DPM++ 2M Karras", "DPM++ 2M", "Karras"),
        ("DPM++ 2M SDE Exponential", "DPM++ 2M SDE", "Exponential"),
        ("Euler SGMUniform", "Euler", "SGMUniform"),
        ("Euler sgm uniform", "Euler", "SGM Uniform"),
        ("Euler a", "Euler a", ""),
        ("Karras", "Karras", ""),
    ],
)
def test_an_older_name_holds_sampler_and_schedule(name: str, sampler: str, schedule: str):
    assert split_sampler(name) == (sampler, schedule)


VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)


@given(st.lists(VALUES, min_size=3, max_size=6))
def test_any_value_comes_back(values: list[str]):
    settings = {f"Key {index}": value for index, value in enumerate(values)}
    told = parse(compose("a prompt", "", settings)).settings
    # A value in quotes of its own and without a comma is not quoted again: the format cannot tell the two apart.
    assert all(told[key] == value for key, value in settings.items() if not value.startswith('"'))


@pytest.mark.parametrize(
    "unit",
    ["a", " ", ",", ":", "ab:", 'ab:"', 'ab: "\\', "ab: ,", "Negative prompt: ", '"', "\\", 'ab:"x"y', "\n", "ab:\n"],
)
def test_a_hostile_megabyte_is_read_at_once(unit: str):
    text = (unit * 2**20)[: 2**20]
    for shape in (text, f"{text}\n{SETTINGS}", f"p\n{SETTINGS}, {text}"):
        started = time.process_time()
        parse(shape)
        assert time.process_time() - started < 1.0
