from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.checks import Check, subject
from studio.diffusion.mixture import gaussian, islands
from studio.diffusion.samplers import SAMPLERS, SIGMAS, ddim, ddpm, heun
from studio.diffusion.schedules import SCHEDULES, Schedule, cosine, linear, zero_terminal_snr
from studio.diffusion.walk import Spacing, last, pairs, spaced
from studio.evaluate.against_diffusers import CHECKS

ONE = torch.ones(1, 1, dtype=torch.float64)


def noise(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_samplers_and_schedules_are_diffusers(check: Check):
    assert check.run(subject(seed=1)).holds


@settings(max_examples=40, deadline=None)
@given(
    T=st.integers(1, 4000),
    steps=st.integers(1, 6),
    sampler=st.sampled_from(sorted(SAMPLERS)),
    name=st.sampled_from(sorted(SCHEDULES)),
    zero=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_every_sampler_walks_every_schedule_without_nan(
    T: int, steps: int, sampler: str, name: str, zero: bool, dtype: torch.dtype
):
    schedule = SCHEDULES[name](T)
    schedule = zero_terminal_snr(schedule) if zero and T > 1 else schedule
    times = spaced(T, min(steps, T))
    walk = list(SAMPLERS[sampler](islands().denoiser(schedule), noise(4).to(dtype), times, schedule))
    assert [(step.t, step.t_next) for step in walk] == list(pairs(times))
    for step in walk:
        for picture in (step.xt, step.x0, step.eps, step.next):
            assert picture.shape == (4, 2) and picture.dtype == dtype and picture.isfinite().all()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("zero", [False, True])
def test_every_sampler_brings_noise_to_the_data(name: str, zero: bool):
    world = islands()
    schedule = zero_terminal_snr(cosine(1000)) if zero else cosine(1000)
    generator = torch.Generator().manual_seed(1)
    x = last(SAMPLERS[name](world.denoiser(schedule), noise(2000), spaced(1000, 100), schedule, generator))
    mean, covariance = world.moments()
    assert torch.allclose(x.mean(0), mean, atol=0.08) and torch.allclose(x.T.cov(), covariance, atol=0.08)
    shares = world.responsibilities(x).mean(0)
    assert torch.allclose(shares, world.weights, atol=0.04)


@settings(max_examples=80, deadline=None)
@given(T=st.integers(1, 4000), share=st.floats(0, 1), spacing=st.sampled_from(["trailing", "leading", "linspace"]))
def test_spaced_times_fall_within_the_schedule(T: int, share: float, spacing: Spacing):
    steps = max(1, round(share * T))
    times = spaced(T, steps, spacing)
    assert len(times) == steps and times == sorted(set(times), reverse=True) and 0 <= times[-1] <= times[0] < T
    assert spacing != "trailing" or times[0] == T - 1


@pytest.mark.parametrize("steps", [0, 11, -1])
def test_more_steps_than_times_are_refused(steps: int):
    with pytest.raises(ValueError, match="steps must be from 1 to 10"):
        spaced(10, steps)


def test_an_unknown_spacing_is_named():
    with pytest.raises(ValueError, match="spacing must be trailing, leading or linspace; it is even"):
        spaced(10, 5, "even")  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [[3, 3], [1, 2], [5, -1]])
def test_times_that_do_not_fall_are_refused(times: list[int]):
    with pytest.raises(ValueError, match="must fall"):
        last(ddim(lambda x, t: x, ONE, times, linear(10)))


def test_a_walk_without_times_is_refused():
    with pytest.raises(ValueError, match="no timestep"):
        last(ddim(lambda x, t: x, ONE, [], linear(10)))


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_an_eta_out_of_bounds_is_refused(eta: float):
    with pytest.raises(ValueError, match="eta must be from 0 to 1"):
        last(ddim(lambda x, t: x, ONE, [3], linear(10), eta=eta))


def test_an_unknown_sigma_is_named():
    with pytest.raises(ValueError, match="one of beta, beta_tilde, zero, misprinted; it is gamma"):
        last(ddpm(lambda x, t: x, ONE, [3], linear(10), sigma="gamma"))


def test_the_steps_come_one_by_one():
    asked: list[int] = []

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        asked.append(t)
        return x

    walk = ddim(denoise, ONE, [8, 5, 2], linear(10))
    next(walk)
    assert asked == [8]
    next(walk)
    assert asked == [8, 5]


def test_heun_asks_twice_but_at_the_last_step():
    asked: list[int] = []

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        asked.append(t)
        return x / 2

    last(heun(denoise, ONE, [8, 5, 2], linear(10)))
    assert asked == [8, 5, 5, 2, 2]


def test_a_walk_can_be_forked_at_any_step():
    denoise, schedule, times = islands().denoiser(linear(100)), linear(100), spaced(100, 10)
    walk = list(ddim(denoise, noise(3), times, schedule))
    assert torch.equal(last(ddim(denoise, walk[3].next, times[4:], schedule)), walk[-1].next)
    other = last(ddpm(denoise, walk[3].next, times[4:], schedule, torch.Generator().manual_seed(5)))
    assert not torch.allclose(other, walk[-1].next)


@pytest.mark.parametrize(("sigma", "data_variance"), [("beta", 1.0), ("beta_tilde", 1e-12)])
def test_each_sigma_is_right_for_the_data_that_ddpm_names(sigma: str, data_variance: float):
    """DDPM, section 3.2: beta keeps N(0, I) data, beta_tilde a single point, exactly and at every step."""
    schedule, variance = linear(1000), 1.0
    denoise = gaussian(data_variance).denoiser(schedule)
    variance = schedule.alpha_bar(999) * data_variance + 1 - schedule.alpha_bar(999)
    for t in range(999, 500, -1):
        step = next(iter(ddpm(denoise, ONE, [t, t - 1], schedule, sigma="zero")))
        now, then = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)
        variance = float(step.next) ** 2 * variance + SIGMAS[sigma](now, then) ** 2
        assert variance == pytest.approx(then * data_variance + 1 - then, rel=1e-9)


@pytest.mark.parametrize(("sigma", "low", "high"), [("zero", 0.0, 0.5), ("beta_tilde", 0.9, 1.1), ("beta", 0.9, 1.1)])
def test_without_fresh_noise_the_pictures_are_too_smooth(sigma: str, low: float, high: float):
    schedule = linear(1000)
    walk = partial(ddpm, sigma=sigma)
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = last(
        walk(gaussian(0.25).denoiser(schedule), x, spaced(1000, 200), schedule, torch.Generator().manual_seed(1))
    )
    assert low < float(out.var()) / 0.25 < high


def test_noise_at_the_last_step_stays_in_the_picture():
    schedule = linear(1000)
    clean, noisy = (
        last(ddpm(lambda x, t: torch.zeros_like(x), torch.zeros(500, 1), [99], schedule,
                  torch.Generator().manual_seed(0), "beta", noise_at_last=on))
        for on in (False, True)
    )  # fmt: skip
    assert clean.abs().max() == 0
    assert float(noisy.var()) == pytest.approx(1 - schedule.alpha_bar(99), rel=0.15)


def test_the_misprinted_sigma_breaks_the_walk():
    schedule = linear(1000)
    walk = ddpm(gaussian(0.25).denoiser(schedule), noise(10), spaced(1000, 1000), schedule, sigma="misprinted")
    assert float(next(walk).next.abs().mean()) > 100


def test_one_generator_gives_one_walk_and_another_gives_another():
    schedule = linear(100)
    one, again, other = (
        last(ddpm(islands().denoiser(schedule), noise(3), spaced(100, 20), schedule, torch.Generator().manual_seed(s)))
        for s in (1, 1, 2)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_single_step_from_pure_noise_is_the_mean_of_the_data():
    schedule: Schedule = zero_terminal_snr(linear(1000))
    mean, _ = islands().moments()
    for name, sampler in SAMPLERS.items():
        x = last(sampler(islands().denoiser(schedule), noise(3), [999], schedule))
        assert torch.allclose(x, mean.expand(3, 2)), name
