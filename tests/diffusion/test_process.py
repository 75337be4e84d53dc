from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from studio.diffusion import process
from studio.diffusion.schedules import MAX_T, SCHEDULES, linear, zero_terminal_snr


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(
    T=st.one_of(st.integers(1, 40), st.integers(1, MAX_T)),
    name=st.sampled_from(sorted(SCHEDULES)),
    shape=st.sampled_from([(1, 3, 4, 4), (3, 1, 2, 5), (2, 7), (4, 1)]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    share=st.floats(0, 1),
    zero=st.booleans(),
)
def test_every_shape_and_dtype_stays_as_it_is_without_nan(
    T: int, name: str, shape: tuple[int, ...], dtype: torch.dtype, share: float, zero: bool
):
    schedule = zero_terminal_snr(SCHEDULES[name](T)) if zero and T > 1 else SCHEDULES[name](T)
    x0, eps = normal(*shape).to(dtype), normal(*shape, seed=1).to(dtype)
    t = torch.full((shape[0],), round(share * (T - 1)))
    xt = process.q_sample(x0, t, eps, schedule)
    mean, variance = process.q_posterior(x0, xt, t, schedule)
    for result in (xt, process.q_step(x0, t, eps, schedule), mean, process.prior_kl(x0, schedule)):
        assert result.shape == shape and result.dtype == dtype and result.isfinite().all()
    assert variance.shape == (shape[0], *[1] * (len(shape) - 1)) and variance.isfinite().all()


def test_one_time_for_all_is_the_same_time_for_each():
    x0, eps, schedule = normal(3, 2, 4, 4), normal(3, 2, 4, 4, seed=1), linear(100)
    each = process.q_sample(x0, torch.tensor([7, 7, 7]), eps, schedule)
    assert torch.equal(process.q_sample(x0, 7, eps, schedule), each)


def test_each_picture_gets_its_own_time():
    x0, eps, schedule = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1), linear(100)
    both = process.q_sample(x0, torch.tensor([3, 80]), eps, schedule)
    for i, t in enumerate((3, 80)):
        a = schedule.alpha_bar(t)
        assert torch.allclose(both[i], math.sqrt(a) * x0[i] + math.sqrt(1 - a) * eps[i], atol=1e-14)


@pytest.mark.parametrize("t", [-1, 100, torch.tensor([0, 100])])
def test_a_time_outside_the_schedule_is_refused(t: process.Time):
    with pytest.raises(ValueError, match="t must be from 0 to 99"):
        process.q_sample(normal(2, 1), t, normal(2, 1), linear(100))


def test_times_that_fit_no_batch_are_refused():
    with pytest.raises(ValueError, match="one for each of 2 pictures; there are 3"):
        process.q_sample(normal(2, 1), torch.tensor([1, 2, 3]), normal(2, 1), linear(100))


def test_a_step_is_what_diffusers_calls_add_noise_of_one_beta():
    from diffusers import DDPMScheduler

    schedule = linear(50)
    x, eps = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    alone = DDPMScheduler(num_train_timesteps=1, trained_betas=[float(schedule.betas[20])])
    assert torch.allclose(
        process.q_step(x, 20, eps, schedule), alone.add_noise(x, eps, torch.tensor([0, 0])), atol=1e-5
    )


def test_the_jump_is_diffusers_add_noise():
    from diffusers import DDPMScheduler

    x, eps, t = normal(3, 3, 4, 4), normal(3, 3, 4, 4, seed=1), torch.tensor([0, 400, 999])
    assert torch.allclose(process.q_sample(x, t, eps, linear(1000)), DDPMScheduler().add_noise(x, eps, t), atol=1e-5)


def test_drawn_times_are_uniform_and_one_for_each_picture():
    t = process.draw_t(20_000, linear(10), torch.Generator().manual_seed(0))
    assert t.shape == (20_000,) and t.dtype == torch.int64
    assert (t.bincount(minlength=10) / 20_000).tolist() == pytest.approx([0.1] * 10, abs=0.01)


def test_the_kl_of_gaussians_is_torch_s():
    a, b, v, w = normal(5, 4), normal(5, 4, seed=1), normal(5, 4, seed=2).exp(), normal(5, 4, seed=3).exp()
    theirs = kl_divergence(Normal(a, v.sqrt()), Normal(b, w.sqrt()))
    assert torch.allclose(process.kl_gaussians(a, v, b, w), theirs)


def test_the_dropped_weight_grows_towards_clean_pictures():
    schedule = linear(1000)
    one = torch.ones(1, 1, dtype=torch.float64)
    weights = [float(process.dropped_weight(t, schedule.betas, one, schedule)) for t in (1, 100, 900)]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > 20 * weights[1]


@pytest.mark.parametrize(("kind", "theirs"), [("l1", F.l1_loss), ("l2", F.mse_loss)])
def test_each_loss_is_torch_s(kind: process.LossKind, theirs: object):
    eps, guess = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    assert process.noise_loss(eps, guess, kind).item() == pytest.approx(theirs(guess, eps).item())  # type: ignore[operator]


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError, match="l1 or l2; it is huber"):
        process.noise_loss(normal(1, 1), normal(1, 1), "huber")  # type: ignore[arg-type]


def test_a_network_overfits_one_batch_with_this_loss():
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 4)
    x0, eps, schedule = normal(2, 4).float(), normal(2, 4, seed=1).float(), linear(100)
    xt = process.q_sample(x0, 50, eps, schedule)
    optimiser = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(300):
        optimiser.zero_grad()
        loss = process.noise_loss(eps, net(xt))
        loss.backward()
        optimiser.step()
    assert loss.item() < 1e-3


def test_every_byte_comes_back_and_the_ends_are_minus_1_and_1():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(process.to_pixels(process.to_signed(every)), every)
    assert process.to_signed(every)[[0, 255]].tolist() == [-1, 1]
    assert process.to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
