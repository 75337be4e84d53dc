"""Guidance on the plane: what is drawn is what the maths room says, and bad wishes are refused by name."""

from __future__ import annotations

import pytest
import torch

from studio.engine.plane import EDGE, GRID, POINTS, grid, plane
from studio.errors import InvalidInput


def test_the_three_arrows_add_up():
    found = plane(1, 3.0, 80, "ddim", 0)
    assert found.identity < 1e-9
    torch.testing.assert_close(found.guided, found.plain + 3 * found.classifier, rtol=0, atol=1e-8)
    assert found.places.shape == (GRID**2, 2)


def test_guidance_buys_accuracy_with_spread():
    low, high = plane(1, 1.0, 80, "ddim", 0), plane(1, 6.0, 80, "ddim", 0)
    assert high.inside > low.inside
    assert high.spread < low.spread
    assert low.drawn.shape == (POINTS, 2)


def test_without_guidance_the_class_itself_is_sampled():
    found = plane(2, 1.0, 80, "ddpm", 0)
    assert found.spread == pytest.approx(1, abs=0.12)


def test_densities_have_their_first_row_at_the_top():
    found = plane(2, 1.0, 80, "ddim", 0)
    half = len(found.true) // 2
    assert float(found.true[half:].sum()) > 10 * float(found.true[:half].sum())  # the third class lies below
    assert float(grid(3)[0, 0, 1]) == -EDGE


@pytest.mark.parametrize(
    ("gamma", "sampler", "named"), [(99, "ddim", "gamma"), ("x", "ddim", "gamma"), (1, "no", "sampler")]
)
def test_a_bad_wish_is_refused_by_name(gamma: float, sampler: str, named: str):
    with pytest.raises(InvalidInput, match=named):
        plane(0, gamma, 80, sampler, 0)
