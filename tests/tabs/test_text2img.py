"""Raw values from outside become a request, or a sentence that names the field."""

from __future__ import annotations

import math
from typing import Any

import pytest

from studio.catalog import specs
from studio.errors import InvalidInput
from studio.tabs.text2img import EXAMPLES, request_of
from studio.text import LANGUAGES, t
from studio.types import Scheduler
from studio.world.wish import parse

GOOD = {
    "base_id": "little-world",
    "prompt": "a red ball",
    "negative_prompt": "",
    "seed": 1,
    "width": 128,
    "height": 128,
    "num_inference_steps": 4,
    "guidance_scale": 4,
    "scheduler": "ddim",
    "num_images": 1,
}
WRONG = (None, [], [1], {"a": 1}, math.nan, math.inf, -math.inf, "12", "", True, -1, 10**400)


def wrong_for(field: str) -> list[Any]:
    texts = ("prompt", "negative_prompt")
    return [value for value in WRONG if not (field in texts and isinstance(value, str))]


def test_good_values_make_a_request():
    request = request_of(specs(), **GOOD)
    assert (request.prompt, request.scheduler, request.width) == ("a red ball", Scheduler.DDIM, 128)


def test_a_whole_float_is_a_whole_number():
    assert request_of(specs(), **{**GOOD, "width": 64.0, "seed": 5.0}).width == 64


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in GOOD for value in wrong_for(field)])
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: Any):
    with pytest.raises(InvalidInput) as refused:
        request_of(specs(), **{**GOOD, field: value})
    assert refused.value.values["field"] == field
    for language in LANGUAGES:
        assert refused.value.message(language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("index", range(1, EXAMPLES + 1))
def test_an_example_asks_for_something_that_can_be_measured(index: int, language: str):
    wish = parse(t(f"text2img.example.{index}", language))
    assert wish.background
    assert wish.things or wish.person
