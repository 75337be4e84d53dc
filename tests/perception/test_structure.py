from __future__ import annotations

import numpy as np
import pytest

from studio.perception.structure import CELLS, true_structure
from studio.world.render import render
from studio.world.scene import anything_of_seed

SCENES = [anything_of_seed(seed) for seed in range(30)]
SOMEBODY = next(scene for scene in SCENES if scene.person is not None)
NOBODY = next(scene for scene in SCENES if scene.person is None)


def test_a_cell_has_the_mean_depth_of_its_pixels():
    rendered = render(SOMEBODY, 128)
    means = rendered.depth.reshape(CELLS, 2, CELLS, 2).mean((1, 3))
    np.testing.assert_allclose(true_structure(SOMEBODY)["depth"], means, atol=1e-3)


def test_a_cell_is_inside_if_all_its_pixels_are():
    inside = (render(SOMEBODY, 128).instances > 0).reshape(CELLS, 2, CELLS, 2).all((1, 3))
    np.testing.assert_array_equal(true_structure(SOMEBODY)["inside"], inside)
    assert inside.any() and not inside.all()


@pytest.mark.parametrize("size", [64, 256])
def test_joints_are_shares_of_the_picture_whatever_its_size(size: int):
    rendered = render(SOMEBODY, size)
    np.testing.assert_allclose(true_structure(SOMEBODY, rendered)["joints"], rendered.joints / size, rtol=1e-6)


def test_nobody_has_no_joints_and_no_height():
    true = true_structure(NOBODY)
    assert np.isnan(true["joints"]).all() and np.isnan(true["height"]) and not true["visible"].any()
