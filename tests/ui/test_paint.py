"""Strokes become a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.errors import InvalidInput
from studio.ui.paint import SIDE, canvas, mask_of, painted
from tests.ui.test_source import upload


def strokes(*places: tuple[int, int, int, int], alpha: int = 153, side: int = SIDE) -> Image.Image:
    layer = Image.new("RGBA", (side, side))
    for place in places:
        layer.paste((255, 42, 109, alpha), place)
    return layer


def test_what_is_painted_over_is_white():
    mask = painted({"background": None, "layers": [strokes((0, 0, 100, 50))], "composite": None})
    assert mask is not None and mask.size == (SIDE, SIDE)
    assert (mask.getpixel((99, 49)), mask.getpixel((100, 49)), mask.getpixel((99, 50))) == (255, 0, 0)


def test_every_layer_counts():
    layers = [strokes((0, 0, 9, 9)), strokes((20, 20, 29, 29))]
    mask = painted({"background": None, "layers": layers, "composite": None})
    assert mask is not None and np.asarray(mask).sum() == 255 * 2 * 81


def test_a_faint_rim_does_not_count():
    mask = painted({"background": None, "layers": [strokes((0, 0, 9, 9), alpha=30)], "composite": None})
    assert mask is not None and mask.getbbox() is None


@pytest.mark.parametrize("value", [None, {"background": None, "layers": [], "composite": None}])
def test_without_a_canvas_there_is_no_mask(value: dict[str, object] | None):
    assert painted(value) is None


@pytest.mark.parametrize("value", [None, "text", {"path": "x"}])
def test_a_missing_mask_is_refused_by_its_name(value: object):
    with pytest.raises(InvalidInput) as refused:
        mask_of(value, (64, 64))
    assert (refused.value.key, refused.value.values["field"]) == ("needs_mask", "mask")


def test_a_mask_comes_to_the_size_that_is_drawn():
    mask = painted({"background": None, "layers": [strokes((256, 0, 512, 512))], "composite": None})
    small = np.asarray(mask_of(mask, (128, 128)))
    assert small.shape == (128, 128)
    assert (small[:, :64] == 0).all() and (small[:, 64:] == 255).all()


def test_what_is_painted_on_is_what_will_be_drawn_from(tmp_path: Path):
    value = upload(tmp_path, Image.new("RGB", (300, 100), "red"))
    shown = canvas(value, 128, 64, "fit", "black")
    assert shown is not None and shown["layers"] == []
    background = shown["background"]
    assert background.size == (SIDE, SIDE // 2)
    assert (background.getpixel((256, 128)), background.getpixel((256, 4))) == ((255, 0, 0), (0, 0, 0))


@pytest.mark.parametrize("value", [None, {"path": "/no/such/file"}])
def test_without_a_picture_there_is_nothing_to_paint_on(value: object):
    assert canvas(value, 128, 64, "fit", "black") is None
