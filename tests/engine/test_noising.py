"""A person's picture on its way to noise, against the formulas that promise where it goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from studio.diffusion.schedules import MAX_T, Schedule
from studio.engine.noising import (
    BINS,
    HIGHEST,
    LOWEST,
    curves,
    filmstrip,
    noised,
    schedule_of,
    strip_times,
    to_picture,
    to_tensor,
    walked,
)
from studio.errors import InvalidInput

POINTS = (0.85, 0.5, 0.15, 0.0)


@pytest.fixture
def picture() -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return Image.fromarray(levels)


@pytest.fixture
def cosine() -> Schedule:
    return schedule_of("cosine", 1000)


def test_pictures_come_back_level_by_level(picture: Image.Image):
    assert np.array_equal(np.asarray(to_picture(to_tensor(picture))), np.asarray(picture))


@pytest.mark.parametrize("t", [-1, 0, 300, 700, 999])
def test_mean_and_variance_are_those_that_alpha_bar_promises(picture: Image.Image, cosine: Schedule, t: int):
    found = noised(to_tensor(picture), cosine, t, 0)
    assert found.mean == pytest.approx(found.predicted_mean, abs=0.06)
    assert found.variance == pytest.approx(found.predicted_variance, abs=0.06)


def test_the_histogram_is_a_density(picture: Image.Image, cosine: Schedule):
    found = noised(to_tensor(picture), cosine, 500, 0)
    assert sum(found.counts) * (HIGHEST - LOWEST) / BINS == pytest.approx(1, abs=0.001)


def test_before_the_first_step_the_picture_is_whole(picture: Image.Image, cosine: Schedule):
    found = noised(to_tensor(picture), cosine, -1, 0)
    assert np.array_equal(np.asarray(found.picture), np.asarray(picture))
    assert (found.alpha_bar, found.beta) == (1.0, 0.0)


def test_equal_seeds_give_equal_noise_and_others_do_not(picture: Image.Image, cosine: Schedule):
    one, again, other = (noised(to_tensor(picture), cosine, 400, seed).mean for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(("name", "T", "t"), [("linear", 1000, 999), ("cosine", 50, 20), ("drawn", 7, 0)])
def test_steps_and_jump_are_the_same_up_to_rounding(picture: Image.Image, name: str, T: int, t: int):
    found = walked(to_tensor(picture), schedule_of(name, T, POINTS), t, 3)
    assert found.difference < 1e-12
    assert found.steps == t + 1
    assert not np.array_equal(np.asarray(found.stepped), np.asarray(found.fresh))


def test_the_strip_begins_with_the_picture_and_ends_in_noise(picture: Image.Image, cosine: Schedule):
    frames = filmstrip(to_tensor(picture), cosine, 5, 0)
    assert np.array_equal(np.asarray(frames[0]), np.asarray(picture))
    assert strip_times(1000, 5) == [-1, 249, 499, 749, 999]


def test_curves_end_at_the_end(cosine: Schedule):
    ((*_, (u, value)),) = curves([cosine], lambda schedule: schedule.alpha_bars)
    assert (u, value) == (1.0, cosine.alpha_bar(999))


def test_a_drawn_schedule_goes_through_its_points():
    schedule = schedule_of("drawn", 1000, POINTS)
    assert [schedule.alpha_bar(t) for t in (249, 499, 749)] == pytest.approx(POINTS[:3], abs=1e-6)


@pytest.mark.parametrize("T", [0, -3, MAX_T + 1, 2.5, None, "many", True, float("nan")])
def test_a_length_that_is_none_is_refused_by_name(T: object):
    with pytest.raises(InvalidInput, match=f"T must be a whole number from 1 to {MAX_T}"):
        schedule_of("linear", T)


@pytest.mark.parametrize(
    "points", [(0.5, 0.6, 0.1, 0.0), (1.1, 0.5, 0.2, 0.0), (0.5, 0.2, 0.1, -0.1), (0.5, None, 0.1, 0.0), (0.5,)]
)
def test_a_drawing_that_rises_or_leaves_its_bounds_is_refused(points: tuple[object, ...]):
    with pytest.raises(InvalidInput, match="must fall"):
        schedule_of("drawn", 100, points)


def test_an_unknown_schedule_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidInput, match="cosine"):
        schedule_of("quadratic", 100)


def test_zero_terminal_snr_leaves_nothing(picture: Image.Image):
    schedule = schedule_of("linear", 100, zero_terminal=True)
    found = noised(to_tensor(picture), schedule, 99, 0)
    assert (found.alpha_bar, found.snr) == (0.0, 0.0)
    assert bool(torch.isfinite(torch.tensor(found.counts)).all())
