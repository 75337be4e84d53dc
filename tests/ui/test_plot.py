"""A plot stands where its numbers are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from studio.ui.plot import MAX_TICKS, line_plot


def drawn(values: list[float]) -> ElementTree.Element:
    return ElementTree.fromstring(line_plot(values, "step", "share", "Guidance"))


def texts(values: list[float]) -> list[str]:
    return [text.text or "" for text in drawn(values).iter("text")]


@pytest.mark.parametrize(("values", "top"), [([0.1, 0.2], 0.25), ([0.5, 0.9], 1.0), ([1.1, 0.3], 1.25), ([0.0], 0.25)])
def test_a_point_stands_at_its_share_of_an_axis_that_holds_the_highest(values: list[float], top: float):
    heights = [float((dot.get("cy") or "").rstrip("%")) for dot in drawn(values).iter("circle")]
    assert heights == pytest.approx([100 * (1 - value / top) for value in values], abs=0.01)
    assert f"{top:.0%}" in texts(values)


@pytest.mark.parametrize(("count", "places"), [(1, [50]), (2, [0, 100]), (5, [0, 25, 50, 75, 100])])
def test_steps_spread_over_the_whole_width(count: int, places: list[float]):
    across = [float((dot.get("cx") or "").rstrip("%")) for dot in drawn([0.5] * count).iter("circle")]
    assert across == pytest.approx(places, abs=0.01)


def test_the_line_goes_through_the_points():
    plot = drawn([0.2, 0.8, 0.4])
    (line,) = plot.iter("polyline")
    dots = [f"{dot.get('cx')},{dot.get('cy')}".replace("%", "") for dot in plot.iter("circle")]
    assert (line.get("points") or "").split() == dots


def test_both_axes_have_names():
    assert {"step", "share"} <= {*texts([0.5, 0.6])}


@pytest.mark.parametrize("count", [1, 9, 10, 11, 100])
def test_the_numbers_of_the_steps_have_room(count: int):
    numbers = [text for text in texts([0.5] * count) if re.fullmatch(r"\d+", text)]
    assert 1 <= len(numbers) <= MAX_TICKS
    assert numbers[0] == "1"


def test_a_point_tells_its_value():
    assert [title.text for title in drawn([0.25, 0.5]).iter("title")] == ["step 1: 25%", "step 2: 50%"]
