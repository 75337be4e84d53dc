from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from studio.diffusion.langevin import annealed_langevin, falling
from studio.diffusion.mixture import Mixture, gaussian, islands
from studio.diffusion.schedules import linear, zero_terminal_snr

WORLD = islands()
X = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def torch_s(world: Mixture) -> MixtureSameFamily:
    scales = world.variances.sqrt()[:, None].expand(-1, world.means.shape[1])
    return MixtureSameFamily(Categorical(world.weights), Independent(Normal(world.means, scales), 1))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.T.cov()


@pytest.mark.parametrize("alpha_bar", [1.0, 0.5, 0.0])
def test_the_density_is_torch_s(alpha_bar: float):
    noised = WORLD.noised(alpha_bar)
    assert torch.allclose(noised.log_prob(X), torch_s(noised).log_prob(X))


def test_the_score_is_the_density_s_gradient():
    x = X.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(torch_s(WORLD).log_prob(x).sum(), x)
    assert torch.allclose(WORLD.score(X), gradient, atol=1e-10)


def test_noise_makes_of_samples_what_it_makes_of_the_mixture():
    generator = torch.Generator().manual_seed(1)
    x0 = WORLD.sample(40_000, generator)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    for found, expected in zip(
        moments(math.sqrt(0.3) * x0 + math.sqrt(0.7) * eps), WORLD.noised(0.3).moments(), strict=True
    ):
        assert torch.allclose(found, expected, atol=0.02)


def test_the_moments_are_those_of_samples():
    for found, expected in zip(
        moments(WORLD.sample(40_000, torch.Generator().manual_seed(2))), WORLD.moments(), strict=True
    ):
        assert torch.allclose(found, expected, atol=0.02)


def test_class_probabilities_sum_to_one_and_follow_bayes():
    joint = torch.stack([WORLD.log_class_prob(X, label) for label in (0, 1, 2)]).exp()
    assert torch.allclose(joint.sum(0), torch.ones(50, dtype=torch.float64))
    prior = float(WORLD.weights[WORLD.labels == 1].sum())
    by_bayes = torch_s(WORLD.given(1)).log_prob(X) + math.log(prior) - torch_s(WORLD).log_prob(X)
    assert torch.allclose(WORLD.log_class_prob(X, 1), by_bayes)


@pytest.mark.parametrize("alpha_bar", [0.95, 0.3, 1e-4])
def test_the_perfect_denoiser_is_tweedie_s(alpha_bar: float):
    tweedie = (X + (1 - alpha_bar) * WORLD.noised(alpha_bar).score(X)) / math.sqrt(alpha_bar)
    assert torch.allclose(WORLD.posterior_mean(X, alpha_bar), tweedie, atol=1e-9)


def test_the_perfect_denoiser_is_the_mean_of_what_the_noisy_point_may_have_been():
    generator = torch.Generator().manual_seed(3)
    x0 = WORLD.sample(400_000, generator)
    xt = math.sqrt(0.6) * x0 + math.sqrt(0.4) * torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    point = torch.tensor([[0.4, 0.1]], dtype=torch.float64)
    near = (xt - point).norm(dim=1) < 0.08
    assert torch.allclose(WORLD.posterior_mean(point, 0.6)[0], x0[near].mean(0), atol=0.05)


def test_noise_alone_is_denoised_to_the_mean_of_the_data():
    schedule = zero_terminal_snr(linear(10))
    assert torch.allclose(WORLD.denoiser(schedule)(X, 9), WORLD.moments()[0].expand(50, 2))


def test_the_tilted_density_is_the_one_of_eq_166():
    """log p(x) + gamma log p(y|x) = gamma log p(x|y) + (1 - gamma) log p(x) + gamma log p(y)."""
    prior = float(WORLD.weights[WORLD.labels == 0].sum())
    expected = 2.5 * WORLD.given(0).log_prob(X) - 1.5 * WORLD.log_prob(X) + 2.5 * math.log(prior)
    assert torch.allclose(WORLD.tilted_log_prob(X, 0, 2.5), expected)


def test_float32_points_get_float32_answers():
    assert WORLD.score(X.float()).dtype == WORLD.posterior_mean(X.float(), 0.5).dtype == torch.float32


def test_a_class_without_components_is_named():
    with pytest.raises(ValueError, match="label 7"):
        WORLD.given(7)


@pytest.mark.parametrize("weights", [[0.5, 0.4], [1.5, -0.5]])
def test_weights_that_are_no_distribution_are_refused(weights: list[float]):
    with pytest.raises(ValueError, match="weights must be above 0"):
        Mixture(torch.zeros(2, 2), torch.ones(2), torch.tensor(weights), torch.zeros(2, dtype=torch.int64))


def test_parts_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="for each component"):
        Mixture(torch.zeros(2, 2), torch.ones(3), torch.ones(2) / 2, torch.zeros(2, dtype=torch.int64))


def test_annealed_langevin_finds_every_island_from_far_away():
    x = torch.full((1500, 2), 6.0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(4)
    levels = falling(4.0, 0.05, 16)
    walk = list(annealed_langevin(lambda at, s: WORLD.blurred(s).score(at), x, levels, 20, 3e-4, generator))
    assert len(walk) == 16
    for found, expected in zip(moments(walk[-1]), WORLD.moments(), strict=True):
        assert torch.allclose(found, expected, atol=0.1)
    assert torch.allclose(WORLD.responsibilities(walk[-1]).mean(0), WORLD.weights, atol=0.06)


def test_langevin_without_annealing_stays_on_one_island():
    x = WORLD.means[4].expand(300, 2)
    generator = torch.Generator().manual_seed(5)
    (walked,) = annealed_langevin(lambda at, s: WORLD.score(at), x, [0.05], 300, 3e-4, generator)
    assert WORLD.responsibilities(walked)[:, 4].mean() > 0.97


def test_one_gaussian_is_a_mixture_of_one():
    assert torch.allclose(gaussian(4.0).score(X[:, :1]), -X[:, :1] / 4)


@pytest.mark.parametrize("sigmas", [[], [1.0, 1.0], [1.0, 2.0], [1.0, 0.0]])
def test_noise_levels_that_do_not_fall_are_refused(sigmas: list[float]):
    with pytest.raises(ValueError, match="must fall and stay above 0"):
        list(annealed_langevin(lambda at, s: at, X, sigmas))


def test_falling_levels_are_a_geometric_progression():
    assert falling(8.0, 1.0, 4) == pytest.approx([8, 4, 2, 1])
