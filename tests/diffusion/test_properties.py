"""What holds for every schedule, every length and every shape, tried on ones that hypothesis thinks up."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio.diffusion.parameterisations import KINDS, convert, is_defined
from studio.diffusion.process import at, q_posterior, q_sample, q_step
from studio.diffusion.samplers import SAMPLERS
from studio.diffusion.schedules import MAX_T, SCHEDULES, Schedule, drawn, zero_terminal_snr
from studio.diffusion.walk import last, spaced

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
lengths = st.integers(1, MAX_T)
dtypes = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(lambda rest: (2, *rest))


@st.composite
def schedules(draw: st.DrawFn, longest: int = MAX_T) -> Schedule:
    """Any schedule of the room, one drawn by hand among them, rescaled or not."""
    T, name = draw(st.integers(1, longest)), draw(st.sampled_from([*SCHEDULES, "drawn"]))
    if name == "drawn":
        bars = sorted((draw(st.floats(0, 1)) for _ in range(3)), reverse=True)
        schedule = drawn(T, list(zip((0.3, 0.7, 1.0), bars, strict=True)))
    else:
        schedule = SCHEDULES[name](T)
    return zero_terminal_snr(schedule) if T > 1 and draw(st.booleans()) else schedule


@quick
@given(schedules())
def test_beta_is_in_its_bounds_and_one_only_where_nothing_is_left(schedule: Schedule):
    assert bool(((schedule.betas > 0) & (schedule.betas <= 1)).all())
    assert bool((schedule.betas[:-1] < 1).all())
    assert (float(schedule.betas[-1]) == 1) == schedule.has_zero_terminal_snr


@quick
@given(schedules())
def test_nothing_of_a_schedule_is_nan_and_the_signal_falls(schedule: Schedule):
    for values in (schedule.alphas, schedule.alpha_bars, schedule.snr, schedule.sigmas, schedule.posterior_variances):
        assert not bool(values.isnan().any())
    assert bool((schedule.alpha_bars.diff() < 0).all())
    assert bool((schedule.posterior_variances <= schedule.betas).all())


@quick
@given(schedules(), shapes, dtypes, st.data())
def test_noising_keeps_shape_and_dtype_and_is_finite(
    schedule: Schedule, shape: tuple[int, ...], dtype: torch.dtype, data: st.DataObject
):
    t = torch.tensor([data.draw(st.integers(0, schedule.T - 1)) for _ in range(2)])
    x0, eps = torch.rand(shape).to(dtype) * 2 - 1, torch.randn(shape).to(dtype)
    for found in (q_sample(x0, t, eps, schedule), q_step(x0, t, eps, schedule), q_posterior(x0, eps, t, schedule)[0]):
        assert (found.shape, found.dtype) == (x0.shape, dtype)
        assert bool(found.isfinite().all())


@quick
@given(schedules(longest=60), st.data())
def test_so_many_steps_are_the_jump(schedule: Schedule, data: st.DataObject):
    t = data.draw(st.integers(0, schedule.T - 1))
    x0 = torch.linspace(-1, 1, 6, dtype=torch.float64)[None]
    x, noise = x0, torch.zeros_like(x0)
    for s in range(t + 1):
        eps = torch.randn(x0.shape, dtype=torch.float64)
        x, noise = q_step(x, s, eps, schedule), q_step(noise, s, eps, schedule)
    jump = q_sample(x0, t, noise / math.sqrt(1 - schedule.alpha_bar(t)), schedule)
    torch.testing.assert_close(x, jump, rtol=0, atol=1e-10)


@quick
@given(schedules(), st.data())
def test_every_prediction_comes_back_where_it_is_defined(schedule: Schedule, data: st.DataObject):
    """In float64; the digits that are lost are those by which x_t hides what is asked."""
    t = data.draw(st.integers(0, schedule.T - 1))
    source, target = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(KINDS))
    xt, value = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
    if not is_defined(source, target, t, schedule):
        with pytest.raises(ValueError, match="zero terminal SNR"):
            convert(value, source, target, xt, t, schedule)
        return
    if not is_defined(target, source, t, schedule):
        return
    back = convert(convert(value, source, target, xt, t, schedule), target, source, xt, t, schedule)
    signal = schedule.alpha_bar(t)
    share = min(signal or 1.0, 1 - signal)  # where there is no signal, nothing that is defined is divided by it
    torch.testing.assert_close(back, value, rtol=0, atol=1e-12 / share)


@quick
@given(schedules(longest=400), st.sampled_from(sorted(SAMPLERS)), st.data())
def test_every_sampler_ends_finite_whatever_the_schedule(schedule: Schedule, name: str, data: st.DataObject):
    steps = data.draw(st.integers(1, min(12, schedule.T)))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    found = last(SAMPLERS[name](lambda xt, t: xt.tanh(), x, spaced(schedule.T, steps), schedule, generator))
    assert bool(found.isfinite().all())


@quick
@given(lengths, st.integers(-5, MAX_T + 5))
def test_a_time_outside_of_a_schedule_is_refused(T: int, t: int):
    schedule = SCHEDULES["linear"](T)
    if 0 <= t < T:
        assert at(schedule.betas, t, torch.zeros(1)).shape == (1,)
    else:
        with pytest.raises(ValueError, match=f"from 0 to {T - 1}"):
            at(schedule.betas, t, torch.zeros(1))


@pytest.mark.parametrize("T", [0, -1, MAX_T + 1, 2.5, True, None, "10"])
def test_a_length_that_is_none_is_refused_by_every_schedule(T: object):
    for make in SCHEDULES.values():
        with pytest.raises(ValueError, match=f"whole number from 1 to {MAX_T}"):
            make(T)  # type: ignore[arg-type]
