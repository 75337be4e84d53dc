from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler

from studio.diffusion.distillation import Angles, between, trailing

SCHEDULER = DDIMScheduler(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    clip_sample=False,
    set_alpha_to_one=False,
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
)
ANGLES = Angles(SCHEDULER.alphas_cumprod)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 4, 12, 16, 50])
def test_the_times_are_those_of_diffusers(steps: int):
    SCHEDULER.set_timesteps(steps)
    assert trailing(steps) == [*SCHEDULER.timesteps.tolist(), -1]


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 8, 20])  # of others diffusers' steps end beside its own next times
def test_the_steps_are_those_of_ddim_in_diffusers(steps: int):
    SCHEDULER.set_timesteps(steps)
    times = trailing(steps)
    x = theirs = noise(0)
    for index, (now, then) in enumerate(pairwise(times)):
        v = noise(index + 1)
        theirs = SCHEDULER.step(v, now, theirs).prev_sample
        x = ANGLES.step(x, v, now, then)
    torch.testing.assert_close(x, theirs, rtol=1e-4, atol=1e-4)


def test_the_velocity_is_the_one_that_leads_to_the_target():
    for now, then in pairwise(trailing(4)):
        x, target = noise(1), noise(2)
        torch.testing.assert_close(ANGLES.step(x, ANGLES.velocity(x, target, now, then), now, then), target)


def test_smaller_steps_begin_and_end_where_the_large_one_does():
    times = between(999, 749, 4)
    assert (times[0], times[-1], len(times)) == (999, 749, 5)
    assert times == sorted(times, reverse=True)
    assert between(249, -1, 1) == [249, -1]
