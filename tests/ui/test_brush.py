"""What is drawn travels to the page and back pixel by pixel."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from PIL import Image

from studio.errors import InvalidInput
from studio.ui.brush import DRAWN, bytes_of, drawn_on, laid_under, read_drawn


def test_a_map_comes_back_as_it_was():
    pixels = np.random.default_rng(0).integers(0, 2, (48, 32, 1), np.uint8).repeat(3, axis=-1) * 255
    assert (np.asarray(read_drawn(drawn_on(Image.fromarray(pixels)), "map")) == pixels).all()


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (None, "needs_image"),
        ("", "needs_image"),
        ("https://example.org/map.png", "needs_image"),
        (f"{DRAWN}%%%", "upload_damaged"),
        (DRAWN + base64.b64encode(b"no picture").decode(), "upload_no_picture"),
        (DRAWN + "A" * 21_000_000, "upload_too_big"),
    ],
)
def test_what_is_no_map_is_refused_by_the_name_of_its_field(value: object, key: str):
    with pytest.raises(InvalidInput) as refused:
        read_drawn(value, "map")
    assert (refused.value.key, refused.value.values["field"]) == (key, "map")


def test_a_picture_on_its_way_under_the_sheet_is_nothing_drawn():
    assert bytes_of(laid_under(Image.new("RGB", (8, 8))), "mask") is None
