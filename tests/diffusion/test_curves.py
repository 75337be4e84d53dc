from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import PchipInterpolator

from studio.diffusion.curves import monotone


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [3, 5, 12])
def test_the_curve_is_scipy_s(seed: int, count: int):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.uniform(size=count)), np.sort(rng.uniform(size=count))[::-1].copy()
    y[count // 2] = y[count // 2 - 1]  # a flat piece
    at = np.linspace(x[0], x[-1], 301)
    ours = monotone(*(torch.from_numpy(values) for values in (x, y, at)))
    assert ours.numpy() == pytest.approx(PchipInterpolator(x, y)(at), abs=1e-12)
    assert (ours.diff() <= 1e-15).all()


def test_two_points_are_a_line():
    x, y = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    assert monotone(x, y, torch.tensor([0.0, 0.5, 2.0])).tolist() == [1.0, 0.75, 0.0]
