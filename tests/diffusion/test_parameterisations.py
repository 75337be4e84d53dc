from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.diffusion.parameterisations import KINDS, Kind, clipped, convert, denoiser, is_defined
from studio.diffusion.process import q_sample
from studio.diffusion.schedules import MAX_T, SCHEDULES, linear, scaled_linear, zero_terminal_snr

X0 = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 2, 2)
EPS = torch.randn(X0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(2, MAX_T),
    name=st.sampled_from(sorted(SCHEDULES)),
    share=st.floats(0, 1),
    zero=st.booleans(),
    source=st.sampled_from(KINDS),
    target=st.sampled_from(KINDS),
)
def test_there_and_back_in_float64_wherever_it_is_defined(
    T: int, name: str, share: float, zero: bool, source: Kind, target: Kind
):
    schedule = zero_terminal_snr(SCHEDULES[name](T)) if zero else SCHEDULES[name](T)
    t = round(share * (T - 1))
    xt = q_sample(X0, t, EPS, schedule)
    value = convert(X0, "x0", source, xt, t, schedule)
    if not (is_defined(source, target, t, schedule) and is_defined(target, source, t, schedule)):
        assert zero and t == T - 1
        return
    back = convert(convert(value, source, target, xt, t, schedule), target, source, xt, t, schedule)
    divides = {source, target} & {"eps", "score"} and {source, target} & {"x0", "v"}
    lost = 1e-13 / schedule.alpha_bar(t) ** 0.5 if divides else 1e-13
    assert ((back - value).abs() <= lost * (1 + value.abs())).all()


@pytest.mark.parametrize("source", ["eps", "score"])
@pytest.mark.parametrize("target", ["x0", "v"])
def test_noise_alone_says_nothing_of_the_picture_at_zero_terminal_snr(source: Kind, target: Kind):
    schedule = zero_terminal_snr(linear(10))
    with pytest.raises(ValueError, match=f"{source} says nothing of x0 at zero terminal SNR"):
        convert(EPS, source, target, EPS, 9, schedule)
    assert convert(EPS, source, target, EPS, 8, schedule).isfinite().all()


@pytest.mark.parametrize("source", ["x0", "v"])
@pytest.mark.parametrize("target", KINDS)
def test_picture_and_velocity_say_everything_even_there(source: Kind, target: Kind):
    schedule = zero_terminal_snr(linear(10))
    value = convert(X0, "x0", source, EPS, 9, schedule)
    expected = {"x0": X0, "eps": EPS, "v": -X0, "score": -EPS}
    assert torch.allclose(convert(value, source, target, EPS, 9, schedule), expected[target])


def test_velocity_is_diffusers():
    scheduler, t = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012), 700
    schedule = scaled_linear(1000)
    xt = q_sample(X0, t, EPS, schedule)
    theirs = scheduler.get_velocity(X0, EPS, torch.tensor([t, t]))
    assert torch.allclose(convert(EPS, "eps", "v", xt, t, schedule), theirs, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_denoiser_of_any_kind_finds_the_picture(kind: Kind):
    schedule = linear(100)
    xt = q_sample(X0, 60, EPS, schedule)
    denoise = denoiser(lambda x, t: convert(X0, "x0", kind, x, t, schedule), kind, schedule)
    assert torch.allclose(denoise(xt, 60), X0)


def test_a_clipped_denoiser_stays_within_its_limit():
    assert clipped(lambda x, t: 3 * x)(X0, 0).abs().max() == 1


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="one of eps, x0, v, score; this is noise to x0"):
        convert(EPS, "noise", "x0", EPS, 0, linear(10))  # type: ignore[arg-type]
