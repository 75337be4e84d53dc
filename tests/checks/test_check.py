from __future__ import annotations

import math

import pytest
import torch

from studio.checks import CHECKS, Check, Light, subject
from studio.checks.check import differs, distance, standard_errors
from studio.diffusion.schedules import cosine, linear
from studio.errors import InvalidInput


@pytest.mark.parametrize(
    ("value", "holds"), [(0.0, True), (1.0, True), (1.1, False), (math.nan, False), (math.inf, False), (-1.0, True)]
)
def test_a_light_is_green_within_its_tolerance_and_never_for_what_is_no_number(value: float, holds: bool):
    assert Light(value, 1.0).holds is holds


def test_the_default_is_seeded():
    one, again, other = subject(), subject(), subject(seed=1)
    for name in ("x0", "eps", "guess", "guess_plain"):
        assert torch.equal(getattr(one, name), getattr(again, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))
    assert (one.schedule.T, one.t, one.x0.dtype) == (1000, 499, torch.float64)


def test_what_is_given_is_what_is_checked():
    picture = torch.zeros(1, 3, 4, 6, dtype=torch.float32)
    own = subject(x0=picture, schedule=cosine(50), t=7, gamma=2, seed=5)
    assert own.x0.shape == own.eps.shape == own.guess.shape == own.guess_plain.shape == (1, 3, 4, 6)
    assert (own.schedule.name, own.t, own.gamma, own.x0.dtype) == ("cosine", 7, 2.0, torch.float64)


@pytest.mark.parametrize("t", [-1, 10, 2.5, True])
def test_a_time_outside_the_schedule_is_named(t: object):
    with pytest.raises(InvalidInput) as refused:
        subject(schedule=linear(10), t=t)  # type: ignore[arg-type]
    assert refused.value.key == "bad_whole_number" and refused.value.values["maximum"] == 9


@pytest.mark.parametrize(
    ("given", "field", "key"),
    [
        ({"x0": torch.zeros(0, 3, 4, 4)}, "x0", "wrong_shape"),
        ({"x0": torch.zeros(4)}, "x0", "wrong_shape"),
        ({"x0": torch.full((1, 3, 4, 4), math.nan)}, "x0", "not_finite"),
        ({"eps": torch.zeros(1, 3, 4, 4)}, "eps", "wrong_shape"),
        ({"guess": torch.full((2, 3, 8, 8), math.inf)}, "guess", "not_finite"),
    ],
)
def test_a_picture_that_cannot_be_checked_is_named(given: dict[str, torch.Tensor], field: str, key: str):
    with pytest.raises(InvalidInput) as refused:
        subject(**given)  # type: ignore[arg-type]
    assert (refused.value.key, refused.value.values["field"]) == (key, field)
    assert all(field in refused.value.message(language) for language in ("en", "zh"))


def test_a_check_that_needs_more_steps_says_so():
    check = Check("own", "", "", lambda on: 0.0, 0.0, least_T=3)
    short = subject(schedule=linear(2))
    assert not check.applies(short) and check.run(subject(schedule=linear(3))).holds
    with pytest.raises(InvalidInput) as refused:
        check.run(short)
    assert refused.value.key == "schedule_too_short"


def test_a_check_says_which_fields_it_looks_at():
    """A page runs a light again when one of its fields has changed: none may be forgotten, none named in vain."""
    read: set[str] = set()

    class Watched:
        def __init__(self, on: object) -> None:
            self.on = on

        def __getattr__(self, name: str) -> object:
            found = getattr(type(self.on), name, None)
            if callable(found):
                return lambda *arguments: found(self, *arguments)
            if isinstance(found, property):
                return found.fget(self)  # type: ignore[misc]
            read.add(name)
            return getattr(self.on, name)

    wrong = {}
    for check in CHECKS:
        read.clear()
        with torch.no_grad():
            check.measure(Watched(subject(schedule=linear(50))))  # type: ignore[arg-type]
        if read != set(check.uses):
            wrong[check.id] = read
    assert wrong == {}


def test_distance_is_relative_above_1_and_absolute_below():
    assert distance(torch.tensor([100.0]), torch.tensor([101.0])) == pytest.approx(1 / 101)
    assert distance(torch.tensor([0.1]), torch.tensor([0.3])) == pytest.approx(0.2)
    assert distance(torch.tensor([math.nan]), torch.tensor([0.3])) == math.inf


def test_differs_counts_bits_and_shapes():
    assert differs(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + 1e-6])) == 1
    assert differs(torch.tensor([1.0]), torch.tensor([1.0, 2.0])) == math.inf
    assert differs(torch.tensor([math.nan]), torch.tensor([math.nan])) == 1


def test_standard_errors_find_a_mean_and_a_variance_that_are_off():
    sample = torch.randn(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert standard_errors(sample, 0.0, 1.0) < 3
    assert standard_errors(sample + 0.1, 0.0, 1.0) > 6 and standard_errors(1.1 * sample, 0.0, 1.0) > 9
    assert standard_errors(sample, 0.0) < 3 < standard_errors(sample, 0.1)
