"""A request is valid once it exists: everything else is refused by the name of its field."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.errors import InvalidInput
from studio.types import MAX_SEED, ControlUse, GenerationRequest


def request(**changed: Any) -> GenerationRequest:
    return GenerationRequest(**{"base_id": "m", "prompt": "a cat", "seed": 1, **changed})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 31),
        ("width", 100),
        ("height", 1032),
        ("height", "512"),
        ("num_inference_steps", 0),
        ("num_inference_steps", 2.5),
        ("num_inference_steps", True),
        ("guidance_scale", math.nan),
        ("guidance_scale", math.inf),
        ("guidance_scale", None),
        ("num_images", 5),
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("strength", 1.01),
        ("feather", 1000),
        ("prompt", None),
        ("prompt", "x" * 2001),
        ("prompt", "half a \ud83d character"),
        ("negative_prompt", b"bytes"),
        ("negative_prompt", "\udfff"),
        ("scheduler", "magic"),
        ("scheduler", ["ddim"]),
        ("task", "fly"),
        ("precision", 1),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        request(**{field: value})
    assert refused.value.values["field"] == field


def test_the_last_seed_leaves_room_for_every_image() -> None:
    assert request(seed=MAX_SEED).seed == MAX_SEED
    with pytest.raises(InvalidInput):
        request(seed=MAX_SEED, num_images=2)


@given(st.text(max_size=2000))
def test_every_text_is_a_prompt(text: str) -> None:
    assert request(prompt=text).prompt == text


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.9, 0.1), (-0.1, 1.0), (0.0, math.nan)])
def test_a_control_acts_over_some_of_the_steps(start: float, end: float) -> None:
    with pytest.raises(InvalidInput):
        ControlUse("canny", "m", start=start, end=end)
