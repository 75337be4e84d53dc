"""The lights of a sweep, for a person to read."""

from __future__ import annotations

import re

import pytest

from studio.engine.entry import Entry
from studio.engine.strengths import Point, Strengths
from studio.ui.lights import lights_of


def sweep(*differences: float, exchanged: float = 0.0) -> Strengths:
    entry = Entry(999, 0.0, 1.0, 20, 20, (1.0,))
    points = (Point(index / 2, entry, value, 1.25) for index, value in enumerate(differences))
    return Strengths(tuple(points), exchanged, 1.0)


def test_each_fact_has_its_sign_and_its_numbers():
    html = lights_of(sweep(3, 20, 45.5), "en")
    assert html.count("✓") == 3 and "✗" not in html
    assert "1.25 levels apart, at most 8" in html and "from 3 to 45.5 levels" in html


def test_a_fact_that_does_not_hold_is_marked():
    html = lights_of(sweep(3, 20, 19, exchanged=0.5), "zh")
    assert (html.count("✓"), html.count("✗")) == (1, 2)
    assert "相差 0.5 级" in html


@pytest.mark.parametrize("highest", [5.0, 39.9, 120.0])
def test_the_curve_fits_into_its_axes(highest: float):
    html = lights_of(sweep(1, highest / 2, highest), "en")
    places = [float(y) for y in re.findall(r'<circle cx="[\d.]+%" cy="([\d.]+)%"', html)]
    assert len(places) == 3 and all(0 <= y <= 100 for y in places)
    assert places == sorted(places, reverse=True)
