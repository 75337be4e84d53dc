from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.diffusion.schedules import (
    MAX_T,
    SCHEDULES,
    Schedule,
    cosine,
    drawn,
    from_alpha_bar,
    linear,
    scaled_linear,
    sigmoid,
    zero_terminal_snr,
)

LENGTHS = st.one_of(st.integers(1, 64), st.integers(1, MAX_T))
QUICK = settings(max_examples=60, deadline=None)


@st.composite
def drawings(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Points that a hand may draw: times that rise to 1, alpha_bars that fall, flat and steep places included."""
    inner = draw(st.lists(st.floats(0.01, 0.99), max_size=6, unique=True))
    times = [*sorted(inner), 1.0]
    values = draw(st.lists(st.floats(0, 1), min_size=len(times), max_size=len(times)))
    return list(zip(times, sorted(values, reverse=True), strict=True))


def assert_sound(schedule: Schedule, last_is_one: bool = False) -> None:
    """No NaN anywhere, beta in (0, 1) but for the last one where it may be 1, and everything falls that has to."""
    betas = schedule.betas if not last_is_one else schedule.betas[:-1]
    assert betas.isfinite().all() and (betas > 0).all() and (betas < 1).all()
    assert not last_is_one or schedule.betas[-1] == 1
    assert schedule.has_zero_terminal_snr is last_is_one
    for values in (schedule.alpha_bars, schedule.snr, schedule.posterior_variances):
        assert values.shape == (schedule.T,) and values.dtype == torch.float64
        assert values.isfinite().all() and (values >= 0).all()
    assert (schedule.alpha_bars.diff() < 0).all() and (schedule.snr.diff() < 0).all()
    assert (schedule.posterior_variances <= schedule.betas).all()


@QUICK
@given(T=LENGTHS, name=st.sampled_from(sorted(SCHEDULES)))
def test_every_schedule_is_sound_at_every_length(T: int, name: str):
    schedule = SCHEDULES[name](T)
    assert schedule.T == T
    assert_sound(schedule)


@QUICK
@given(T=LENGTHS, points=drawings())
def test_a_drawn_schedule_is_sound(T: int, points: list[tuple[float, float]]):
    assert_sound(drawn(T, points))


@QUICK
@given(T=LENGTHS.filter(lambda T: T > 1), points=drawings(), name=st.sampled_from([*sorted(SCHEDULES), "drawn"]))
def test_zero_terminal_snr_leaves_nothing_at_the_end_and_the_beginning_alone(
    T: int, points: list[tuple[float, float]], name: str
):
    before = drawn(T, points) if name == "drawn" else SCHEDULES[name](T)
    after = zero_terminal_snr(before)
    assert_sound(after, last_is_one=True)
    assert after.alpha_bars[0].item() == pytest.approx(before.alpha_bars[0].item(), abs=1e-12)


@QUICK
@given(start=st.floats(-8, 7), width=st.floats(0.1, 8), tau=st.floats(0.2, 5), T=LENGTHS)
def test_a_sigmoid_of_any_ends_is_sound(start: float, width: float, tau: float, T: int):
    assert_sound(sigmoid(T, start, start + width, tau))


@pytest.mark.parametrize("T", [0, -1, MAX_T + 1, True, 10.0, "10", None, math.nan])
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_bad_length_is_named(name: str, T: object):
    with pytest.raises(ValueError, match=rf"T must be a whole number from 1 to {MAX_T}; it is"):
        SCHEDULES[name](T)  # type: ignore[arg-type]


@pytest.mark.parametrize(("T", "end"), [(19, "1.05"), (10, "2"), (1, "0.1")])
def test_rescaled_ends_that_leave_the_bounds_are_refused(T: int, end: str):
    if T == 1:  # a single step takes the start alone
        assert linear(1, rescaled=True).betas.tolist() == [pytest.approx(0.1)]
        return
    with pytest.raises(ValueError, match="linear: beta must be in"):
        linear(T, rescaled=True)


def test_rescaled_ends_are_those_of_a_thousand_steps_times_their_ratio():
    betas = linear(100, rescaled=True).betas
    assert betas[[0, -1]].tolist() == pytest.approx([0.001, 0.2])


@pytest.mark.parametrize(("start", "end", "tau"), [(3, 3, 1), (3, -3, 1), (-3, 3, 0), (math.nan, 3, 1)])
def test_a_sigmoid_without_width_is_refused_instead_of_nan(start: float, end: float, tau: float):
    with pytest.raises(ValueError, match="sigmoid: start must be below end"):
        sigmoid(10, start, end, tau)


@pytest.mark.parametrize(
    "points",
    [[], [(0.5, 0.5)], [(1.0, 1.1)], [(1.0, -0.1)], [(0.5, 0.2), (1.0, 0.3)], [(0.5, 0.5), (0.5, 0.4), (1.0, 0.0)],
     [(0.0, 0.9), (1.0, 0.1)], [(1.0, math.nan)], [(1.5, 0.5), (1.0, 0.1)]],
)  # fmt: skip
def test_a_drawing_that_does_not_fall_is_refused(points: list[tuple[float, float]]):
    with pytest.raises(ValueError, match="drawn: "):
        drawn(10, points)


@pytest.mark.parametrize(
    "betas", [[0.0, 0.1], [0.1, 1.1], [1.0, 0.1], [math.nan, 0.1], [-0.1, 0.1], [0.1, math.inf], []]
)
def test_betas_outside_their_bounds_are_refused(betas: list[float]):
    with pytest.raises(ValueError, match=r"beta must be in|T must be"):
        Schedule("own", torch.tensor(betas, dtype=torch.float64))


def test_betas_in_less_than_float64_are_refused():
    with pytest.raises(ValueError, match="float64"):
        Schedule("own", torch.tensor([0.1, 0.2]))


def test_zero_terminal_snr_of_one_step_is_refused():
    with pytest.raises(ValueError, match="at least 2 steps"):
        zero_terminal_snr(linear(1))


def test_half_of_the_signal_is_gone_where_the_literature_has_it():
    first = [int((s(1000).alpha_bars < 0.5).nonzero()[0]) + 1 for s in (linear, cosine, sigmoid)]
    assert first == [260, 497, 501]


def test_the_share_of_steps_that_are_nearly_noise():
    shares = [(s(1000).alpha_bars < 0.01).double().mean().item() for s in (linear, cosine, sigmoid)]
    assert shares == pytest.approx([0.327, 0.065, 0.031])


def test_the_signal_that_is_left_at_the_end():
    assert linear(1000).alpha_bars[-1].sqrt().item() == pytest.approx(0.00635, abs=5e-6)
    assert scaled_linear(1000).alpha_bars[-1].sqrt().item() == pytest.approx(0.068, abs=5e-4)


def test_beta_tilde_is_0_at_first_and_then_less_than_beta():
    schedule = linear(1000)
    assert schedule.posterior_variances[0] == 0
    assert (schedule.posterior_variances / schedule.betas)[1].item() == pytest.approx(0.45, abs=0.01)
    assert (schedule.posterior_variances / schedule.betas)[-1].item() == pytest.approx(1, abs=1e-4)


def test_the_cosine_is_its_formula_where_no_guard_is_needed():
    def f(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [f((t + 1) / 1000) / f(0) for t in range(0, 990, 90)]
    assert cosine(1000).alpha_bars[0:990:90].tolist() == pytest.approx(expected, rel=1e-10)


def test_a_drawn_schedule_goes_through_its_points():
    schedule = drawn(1000, [(0.25, 0.8), (0.5, 0.3), (1.0, 0.01)])
    assert schedule.alpha_bars[[249, 499, 999]].tolist() == pytest.approx([0.8, 0.3, 0.01], rel=1e-9)


def test_a_curve_that_touches_zero_early_is_guarded():
    assert_sound(from_alpha_bar("cliff", 50, lambda u: (0.5 - u).clamp(min=0)))


@pytest.mark.parametrize(("t", "expected"), [(-1, 1.0), (0, 0.9999)])
def test_alpha_bar_before_the_first_step_is_1(t: int, expected: float):
    assert linear(1000).alpha_bar(t) == pytest.approx(expected)


@pytest.mark.parametrize("t", [-2, 1000])
def test_alpha_bar_outside_the_schedule_is_refused(t: int):
    with pytest.raises(ValueError, match="t must be from -1 to 999"):
        linear(1000).alpha_bar(t)
