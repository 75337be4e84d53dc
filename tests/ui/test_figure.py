"""Figures of the maths pages: places land where the axes say, and every one is told to who cannot see it."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from xml.etree import ElementTree

import pytest
from PIL import Image

from studio.ui.figure import Arrows, Axis, Bars, Dots, Line, data_uri, even_ticks, figure

X, Y = Axis("t", 0, 10, even_ticks(0, 10)), Axis("y < 1", 0, 1, even_ticks(0, 1, 2))


def drawn(*parts: Line | Dots | Arrows | Bars, **more: object) -> ElementTree.Element:
    return ElementTree.fromstring(figure(X, Y, 'a "title"', parts, **more))  # type: ignore[arg-type]


def test_axes_are_named_and_the_title_is_told():
    root = drawn(Line([(0, 0), (10, 1)]))
    texts = [element.text for element in root.iter("text")]
    assert {"t", "y < 1", "2.5", "0.5"} <= set(texts)
    assert root.find("svg").get("aria-label") == 'a "title"'  # type: ignore[union-attr]


def test_a_line_goes_from_corner_to_corner():
    (line,) = drawn(Line([(0, 0), (10, 1)], colour=2, strong=True)).iter("polyline")
    assert line.get("points") == "0.00,100.00 100.00,0.00"
    assert line.get("class") == "fig-2 fig-strong"


def test_bars_stand_on_the_axis():
    (bars,) = drawn(Bars([1.0, 0.5], 0, 10)).iter("path")
    assert bars.get("d") == "M0.00 100.00V0.00h50.00V100.00zM50.00 100.00V50.00h50.00V100.00z"


def test_an_arrow_without_a_length_is_a_point():
    (arrows,) = drawn(Arrows([((5, 0.5), (5, 0.5)), ((0, 0), (10, 0))])).iter("path")
    assert (arrows.get("d") or "").startswith("M50.00 50.00h.2M0.00 100.00L100.00 100.00")


def test_named_parts_have_a_legend_and_a_time_has_a_line():
    root = drawn(Line([(0, 0)], name="<b>"), Dots([(1, 1)]), now=5)
    assert [element.text or element[0].tail for element in root.iter("span")] == ["<b>"]
    assert [line.get("x1") for line in root.iter("line") if line.get("class") == "studio-plot-now"] == ["50.00%"]


def test_nothing_is_asked_for_from_anywhere():
    html = figure(X, Y, "t", [], ground=Image.new("RGBA", (4, 4)))
    assert 'href="data:image/png;base64,' in html
    assert "http" not in html and "url(" not in html


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_travels_inside_the_page(kind: str):
    head, _, data = data_uri(Image.new("RGB", (8, 6), "red"), kind).partition(",")
    assert head == f"data:image/{kind.lower()};base64"
    with Image.open(BytesIO(b64decode(data))) as picture:
        assert picture.size == (8, 6)


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 1, 2, ["0", "0.5", "1"]),
        (0, 999, 4, ["0", "250", "500", "750"]),
        (0, 11.04, 2, ["0", "5", "10"]),
        (-17.2, 12.9, 4, ["-10", "0", "10"]),
        (-2, 2, 4, ["-2", "-1", "0", "1", "2"]),
        (0, 0.0031, 3, ["0", "0.001", "0.002", "0.003"]),
        (1, 1, 4, []),
    ],
)
def test_ticks_are_plain_numbers(low: float, high: float, count: int, expected: list[str]):
    assert [label for _, label in even_ticks(low, high, count)] == expected
