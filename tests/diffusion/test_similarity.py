from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from studio.diffusion.similarity import psnr, ssim


def pair(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 3, 24, 32, generator=generator) * 2 - 1
    return (x + noise * torch.randn(x.shape, generator=generator)).clamp(-1, 1), x


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0])
def test_ssim_is_wang_s_as_scikit_image_computes_it(noise: float):
    metrics = pytest.importorskip("skimage.metrics")
    y, x = pair(noise)
    for mine, a, b in zip(ssim(y, x).tolist(), y.double().numpy(), x.double().numpy(), strict=True):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 2.0}
        _, everywhere = metrics.structural_similarity(a, b, channel_axis=0, full=True, **options)
        assert mine == pytest.approx(float(everywhere[:, 5:-5, 5:-5].mean()), abs=1e-6)


def test_psnr_is_its_definition():
    y, x = pair(0.2)
    errors = np.square((y - x).numpy()).mean((1, 2, 3))
    assert psnr(y, x).tolist() == pytest.approx([10 * math.log10(4 / error) for error in errors], rel=1e-5)


def test_equal_pictures_are_as_near_as_can_be_said():
    _, x = pair(0.0)
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 3) and float(psnr(x, x).min()) > 100


def test_what_lies_outside_is_cut_before_it_is_compared():
    _, x = pair(0.0)
    bright = torch.ones_like(x)
    assert torch.equal(psnr(2 * bright, x), psnr(bright, x)) and torch.equal(ssim(2 * bright, x), ssim(bright, x))


def test_pictures_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="at least 11"):
        ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
