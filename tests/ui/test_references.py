"""References from raw values, and what the page shows of their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from studio.errors import InvalidInput
from studio.ui.brush import drawn_on
from studio.ui.references import DIVISIONS, MOST, NAMES, References, divided, draw_references, ground, taken
from tests.ui.test_source import upload

SIZE = (64, 32)


@pytest.fixture
def references(page: gr.Blocks) -> References:
    return draw_references("test", [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")])


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, Any]]:
    return [upload(tmp_path, Image.new("RGB", (9, 7), (n, 0, 0)), f"{n}.png") for n in range(MOST)]


def test_places_that_are_empty_are_left_out_with_their_weights(files: list[dict[str, Any]]):
    values = {"reference_2": files[1], "reference_4": files[3], "weight_1": 0.1, "weight_2": 0.5, "weight_4": 2.0}
    found = taken({**values, "division": "together"}, SIZE)
    assert [one.getpixel((0, 0)) for one in found.pictures] == [(1, 0, 0), (3, 0, 0)]
    assert (found.weights, found.masks) == ((0.5, 2.0), ())


@pytest.mark.parametrize(("division", "half"), [("left_right", (slice(None), slice(32))), ("top_bottom", slice(16))])
def test_two_references_share_the_picture(division: str, half: Any):
    first, second = (np.asarray(mask) for mask in divided(division, None, SIZE))
    expected = np.zeros((32, 64), np.uint8)
    expected[half] = 255
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, 255 - expected)


@pytest.mark.parametrize("from_page", [False, True])
def test_a_painted_part_belongs_to_the_first(from_page: bool):
    strokes = Image.new("RGBA", (512, 256)) if from_page else Image.new("L", (512, 256))
    strokes.paste((255, 42, 109, 255) if from_page else 255, (0, 0, 128, 256))
    first, second = divided("painted", drawn_on(strokes) if from_page else strokes, SIZE)
    assert (first.size, first.getbbox(), second.getbbox()) == (SIZE, (0, 0, 16, 32), (16, 0, 64, 32))


@pytest.mark.parametrize(
    ("names", "changes", "field"),
    [
        ((), {}, "reference_1"),
        (NAMES[:1], {"division": "left_right"}, "division"),
        (NAMES[:3], {"division": "left_right"}, "division"),
        (NAMES[:2], {"division": "diagonal"}, "division"),
        (NAMES[:2], {"division": "painted"}, "mask"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_its_field(
    files: list[dict[str, Any]], names: tuple[str, ...], changes: dict[str, Any], field: str
):
    given = dict(zip(names, files, strict=False))
    with pytest.raises(InvalidInput) as refused:
        taken({**given, "division": "together", **changes}, SIZE)
    assert refused.value.values["field"] == field


def test_a_file_that_is_no_picture_is_refused_by_its_place(tmp_path: Path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(InvalidInput, match="reference_3"):
        taken({"reference_3": {"path": str(tmp_path / "a.png")}, "division": "together"}, SIZE)


def shown(references: References, count: int, division: str = "together") -> tuple[int, bool, bool]:
    """How many places are seen, whether the picture can be divided, and whether a sheet that is there stays."""
    updates = references._shown(*({"path": "x"} if n < count else None for n in range(MOST)), division)
    columns = sum(updates[slot.column]["visible"] for slot in references.slots)
    return columns, updates[references.division]["visible"], "visible" not in updates[references.sheet]


def test_one_more_place_is_seen_than_there_are_pictures(references: References):
    assert [shown(references, count)[0] for count in range(MOST + 1)] == [1, 2, 3, 4, 4]


def test_only_two_can_share_a_picture(references: References):
    assert [shown(references, count, "painted")[1:] for count in (1, 2, 3)] == [
        (False, False),
        (True, True),
        (False, False),
    ]


def test_a_taken_picture_comes_to_the_first_free_place(references: References):
    picture = Image.new("RGB", (4, 4))
    assert references._taken(picture, [{"path": "x"}, None, None, None]) == {references.slots[1].image: picture}
    assert references._taken(picture, [{"path": "x"}] * MOST) == {references.slots[-1].image: picture}


@pytest.mark.parametrize("division", DIVISIONS)
def test_a_sheet_comes_only_where_it_is_painted_on(references: References, division: str):
    update = references._paintable(division, 128, 64)[references.sheet]
    assert update["visible"] is (division == "painted")
    assert bool(update["value"]) is (division == "painted")


@pytest.mark.parametrize(
    ("size", "expected"), [((128, 64), (512, 256)), ((64, 96), (341, 512)), ((None, "x"), (512, 512))]
)
def test_a_sheet_has_the_pictures_shape(size: tuple[Any, Any], expected: tuple[int, int]):
    assert ground(*size).size == expected
