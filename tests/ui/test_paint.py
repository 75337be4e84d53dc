"""Strokes become a mask."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from studio.errors import InvalidInput
from studio.ui.brush import drawn_on, laid_under
from studio.ui.paint import SIDE, canvas, draw_paint, mask_of, strokes_of
from tests.ui.test_source import upload


def strokes(*places: tuple[int, int, int, int], alpha: int = 153, side: int = SIDE) -> Image.Image:
    layer = Image.new("RGBA", (side, side))
    for place in places:
        layer.paste((255, 42, 109, alpha), place)
    return layer


@pytest.mark.parametrize("value", [None, "text", {"path": "x"}])
def test_a_missing_mask_is_refused_by_its_name(value: object):
    with pytest.raises(InvalidInput) as refused:
        mask_of(value, (64, 64))
    assert (refused.value.key, refused.value.values["field"]) == ("needs_mask", "mask")


def test_a_mask_comes_to_the_size_that_is_drawn():
    mask = strokes_of(drawn_on(strokes((256, 0, 512, 512))))
    small = np.asarray(mask_of(mask, (128, 128)))
    assert small.shape == (128, 128)
    assert (small[:, :64] == 0).all() and (small[:, 64:] == 255).all()


def test_what_is_painted_on_is_what_will_be_drawn_from(tmp_path: Path):
    value = upload(tmp_path, Image.new("RGB", (300, 100), "red"))
    shown = canvas(value, 128, 64, "fit", "black")
    assert shown is not None and shown.size == (SIDE, SIDE // 2)
    assert (shown.getpixel((256, 128)), shown.getpixel((256, 4))) == ((255, 0, 0), (0, 0, 0))


@pytest.mark.parametrize("value", [None, {"path": "/no/such/file"}])
def test_without_a_picture_there_is_nothing_to_paint_on(value: object):
    assert canvas(value, 128, 64, "fit", "black") is None


def test_a_sheets_strokes_are_white_where_they_are_painted():
    mask = strokes_of(drawn_on(strokes((0, 0, 100, 50), alpha=255)))
    assert mask is not None and mask.size == (SIDE, SIDE)
    assert mask.getbbox() == (0, 0, 100, 50) and set(np.unique(mask)) == {0, 255}


def test_a_faint_rim_does_not_count():
    mask = strokes_of(drawn_on(strokes((0, 0, 9, 9), alpha=30)))
    assert mask is not None and mask.getbbox() is None


@pytest.mark.parametrize("value", [None, "", {"path": "x"}, laid_under(Image.new("RGB", (8, 8)))])
def test_a_sheet_without_strokes_makes_no_mask(value: object):
    assert strokes_of(value) is None


def test_a_damaged_sheet_is_refused_as_the_mask():
    with pytest.raises(InvalidInput) as refused:
        strokes_of(drawn_on(Image.new("RGBA", (8, 8)))[:-40])
    assert refused.value.values["field"] == "mask"


def test_the_sheet_comes_with_a_picture_and_goes_with_it(page: gr.Blocks, tmp_path: Path):
    paint = draw_paint("test")
    there = paint.prepare(upload(tmp_path, Image.new("RGB", (64, 64), "red")), 64, 64, "crop", "white")
    assert there[paint.sheet]["visible"] and there[paint.sheet]["value"].startswith("data:image/webp")
    gone = paint.prepare(None, 64, 64, "crop", "white")
    assert not gone[paint.sheet]["visible"] and gone[paint.hint]["visible"]
