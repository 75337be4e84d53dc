from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.checks.guiding import ddim_sampled_variance, ddpm_sampled_variance
from studio.diffusion.guidance import (
    classifier_free,
    classifier_gradient,
    classifier_guided,
    ddim_variance,
    ddpm_variance,
    gamma_from_w,
    guided,
    tilted_variance,
)
from studio.diffusion.mixture import islands
from studio.diffusion.samplers import ddim
from studio.diffusion.schedules import cosine, linear
from studio.diffusion.walk import last, spaced

U, C = (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))


def test_gamma_0_is_the_unconditional_tensor_itself():
    assert classifier_free(U, C, 0) is U


def test_gamma_1_is_the_conditional_tensor_itself():
    assert classifier_free(U, C, 1.0) is C


def test_without_the_short_cut_gamma_1_would_not_be_the_conditional():
    assert not torch.equal(U + (C - U), C)


@settings(max_examples=50, deadline=None)
@given(gamma=st.floats(-5, 30))
def test_gamma_goes_along_a_line(gamma: float):
    u, c = U.double(), C.double()
    assert torch.allclose(classifier_free(u, c, gamma), (1 - gamma) * u + gamma * c, atol=1e-10)


def test_w_is_diffusers_guidance_less_1():
    """Ho and Salimans' own form: (1 + w) c - w u."""
    assert torch.allclose(classifier_free(U, C, gamma_from_w(2.5)), 3.5 * C - 2.5 * U, atol=1e-5)


def test_a_guided_denoiser_asks_only_what_it_needs():
    asked: list[str] = []

    def plain(x: torch.Tensor, t: int) -> torch.Tensor:
        asked.append("plain")
        return x

    def told(x: torch.Tensor, t: int) -> torch.Tensor:
        asked.append("told")
        return 2 * x

    for gamma, expected, factor in ((0, ["plain"], 1), (1, ["told"], 2), (3, ["plain", "told"], 4)):
        asked.clear()
        assert torch.allclose(guided(plain, told, gamma)(U, 5), factor * U)
        assert asked == expected


def test_the_gradient_of_a_classifier_is_its_own_and_leaves_no_trace():
    x = U.clone()
    gradient = classifier_gradient(lambda at: -at.square().sum((1, 2, 3)), x)
    assert torch.allclose(gradient, -2 * U) and not x.requires_grad and not gradient.requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_gradient_is_there_also_where_none_are_kept(mode: Callable[[], AbstractContextManager[None]]):
    with mode():
        x = U * 1.0  # inside inference_mode a tensor that autograd refuses
        assert torch.allclose(classifier_gradient(lambda at: at.pow(3).sum((1, 2, 3)), x), 3 * U.square())


def test_classifier_guidance_moves_against_the_gradient_by_the_noise_s_size():
    schedule = linear(1000)
    gradient = torch.ones_like(U)
    moved = classifier_guided(U, gradient, torch.tensor([10, 900]), 2.0, schedule) - U
    expected = [-2 * math.sqrt(1 - schedule.alpha_bar(t)) for t in (10, 900)]
    assert moved[:, 0, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_classifier_guidance_of_0_is_the_prediction_itself():
    assert classifier_guided(U, torch.full_like(U, math.nan), 3, 0.0, linear(10)) is U


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
def test_neither_sampler_draws_the_tilted_density_of_gaussians(gamma: float):
    schedule = cosine(1000)
    by_ddim, by_ddpm = ddim_sampled_variance(gamma, schedule), ddpm_sampled_variance(gamma, schedule)
    assert by_ddim == pytest.approx(ddim_variance(gamma), abs=0.01)
    assert by_ddpm == pytest.approx(ddpm_variance(gamma), abs=0.01)
    if gamma > 1:
        assert by_ddim < by_ddpm < tilted_variance(gamma) or gamma == 2
        assert abs(by_ddim - tilted_variance(gamma)) > 0.1


def test_the_law_at_gamma_3_as_published_figures():
    laws = tilted_variance(3), ddim_variance(3), ddpm_variance(3)
    assert laws == pytest.approx((0.5, 0.25, 0.3875))


def test_the_law_of_ddpm_has_its_limit_at_one_half():
    assert ddpm_variance(0.5) == pytest.approx(ddpm_variance(0.5 + 1e-7), abs=1e-6)


def test_guidance_by_the_perfect_classifier_samples_its_class():
    world, schedule = islands(), cosine(200)
    conditional = guided(world.denoiser(schedule), world.given(2).denoiser(schedule), 2.0)
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = last(ddim(conditional, x, spaced(200, 50), schedule))
    assert world.log_class_prob(found, 2).exp().mean() > 0.99
