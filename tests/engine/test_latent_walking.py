"""Walks back in latents, against the pipeline of diffusers that draws with the same model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from studio.engine.generate import Generation
from studio.engine.latent_model import LatentModel, schedule_of
from studio.engine.latent_walking import Decoded, Fork, LatentWalking, evenly
from studio.engine.walking import Walk, sampled
from studio.errors import Cancelled, InvalidInput
from studio.types import GenerationRequest, Scheduler
from tests.tiny import NATIVE_SIZE

from .conftest import Listener

Requests = Callable[..., GenerationRequest]
PROMPT, STEPS = "a red house", 5
"""A divisor of 1000: otherwise diffusers' DDIM steps to times that it does not visit."""
WALK = Walk(PROMPT, STEPS, "ddim", "beta_tilde", 4.0, 7)


def wish(
    request_for: Requests, walk: Walk = WALK, fork: Fork | None = None, base_id: str = "little-world", **also: int
):
    return LatentWalking(request_for(base_id, prompt=walk.kind, seed=walk.seed), walk, fork, **also)


def same(one: object, other: object) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("base_id", ["little-world", "sd15"])
def test_its_ddim_walk_is_that_of_diffusers(listener: Listener, request_for: Requests, base_id: str):
    """Up to the last step, where diffusers' scheduler stops before alpha_bar = 1 for some models and not for others."""
    request = request_for(base_id, num_inference_steps=STEPS, scheduler=Scheduler.DDIM)
    with listener.registry.lease_for(request) as lease, torch.inference_mode():
        model = LatentModel.of(lease, NATIVE_SIZE)
        view = lease.view(request.task, Scheduler.DDIM)
        view.scheduler.set_timesteps(STEPS)
        times = [int(t) for t in view.scheduler.timesteps]
        denoise = model.denoiser(PROMPT, 4.0)
        steps = list(sampled(WALK, denoise, model.noise(1, request.seed), times, model.schedule, 7))
        theirs: list[torch.Tensor] = []

        def kept(pipeline: object, index: int, t: object, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            theirs.append(tensors["latents"])
            return {}

        view(
            PROMPT, height=NATIVE_SIZE, width=NATIVE_SIZE, num_inference_steps=STEPS, guidance_scale=4.0,
            generator=torch.Generator().manual_seed(request.seed), callback_on_step_end=kept, output_type="latent",
        )  # fmt: skip
    for step, their in zip(steps[:-1], theirs, strict=False):
        assert torch.allclose(step.next, their, atol=2e-4), step.t


def test_where_it_leads_is_the_picture_that_the_studio_draws(listener: Listener, request_for: Requests):
    (walk,) = wish(request_for).run(listener)
    request = request_for(num_inference_steps=STEPS, scheduler=Scheduler.DDIM, guidance_scale=4.0)
    drawn = Generation(request).run(listener).images[0]
    difference = np.abs(np.asarray(walk.finished, float) - np.asarray(drawn, float))
    assert difference.max() <= 1


def test_each_step_is_shown_and_told(listener: Listener, request_for: Requests):
    (walk,) = wish(request_for, shown=4).run(listener)
    assert isinstance(walk, Decoded)
    assert walk.times == (999, 799, 399, 199)
    assert [len(row) for row in (walk.xt, walk.eps, walk.x0)] == [4, 4, 4]
    assert [(step.index, step.total) for step in listener.steps] == [(i + 1, 10) for i in range(10)]


@pytest.mark.parametrize("sampler", ["ddpm", "euler", "heun", "dpmpp_2m"])
def test_every_sampler_walks_and_repeats(listener: Listener, request_for: Requests, sampler: str):
    one, other = (wish(request_for, replace(WALK, sampler=sampler)).run(listener)[0] for _ in range(2))
    assert same(one.finished, other.finished)
    assert not same(one.finished, wish(request_for, replace(WALK, sampler=sampler, seed=8)).run(listener)[0].finished)


def test_a_fork_shares_its_beginning_and_nothing_else(listener: Listener, request_for: Requests):
    one, other = wish(request_for, fork=Fork(3, "a blue cat", 6.0, 9)).run(listener)
    assert one.times == other.times
    assert [same(a, b) for a, b in zip(one.xt, other.xt, strict=True)] == [True] * 4 + [False]
    assert [same(a, b) for a, b in zip(one.x0, other.x0, strict=True)] == [True] * 3 + [False] * 2
    assert not same(one.finished, other.finished)
    assert listener.steps[-1].index == listener.steps[-1].total


def test_another_seed_parts_only_where_there_is_fresh_noise(listener: Listener, request_for: Requests):
    fork = Fork(3, PROMPT, 4.0, 9)
    for sampler, parts in (("ddim", False), ("ddpm", True)):
        one, other = wish(request_for, replace(WALK, sampler=sampler), fork).run(listener)
        assert same(one.finished, other.finished) is not parts


def test_it_stops_between_two_steps(listener: Listener, request_for: Requests):
    listener.stop_after = 2
    with pytest.raises(Cancelled):
        wish(request_for).run(listener)
    assert len(listener.steps) == 2


@pytest.mark.parametrize(
    ("field", "fork"),
    [
        ("fork", Fork(5, PROMPT, 4.0, 1)),
        ("fork", Fork(0, PROMPT, 4.0, 1)),
        ("gamma", Fork(1, PROMPT, 99.0, 1)),
        ("seed", Fork(1, PROMPT, 1.0, -1)),
        ("prompt", Fork(1, "x" * 5_000, 1.0, 1)),
    ],
)
def test_a_bad_fork_is_refused_by_name(request_for: Requests, field: str, fork: Fork):
    with pytest.raises(InvalidInput, match=field):
        wish(request_for, fork=fork)


def test_a_model_that_is_told_more_than_words_is_refused(listener: Listener, request_for: Requests):
    with pytest.raises(InvalidInput, match="sdxl"):
        wish(request_for, base_id="sdxl").run(listener)


def test_a_schedule_survives_the_way_through_diffusers():
    from studio.diffusion.schedules import scaled_linear, zero_terminal_snr

    for exact in (scaled_linear(1000), zero_terminal_snr(scaled_linear(1000))):
        read = schedule_of(exact.alpha_bars.float())
        assert torch.allclose(read.alpha_bars, exact.alpha_bars, atol=1e-7)


def test_the_first_and_the_last_step_are_always_shown():
    assert evenly(list(range(20)), 5)[0] == 0 and evenly(list(range(20)), 5)[-1] == 19  # type: ignore[arg-type]
    assert evenly([1, 2], 5) == [1, 2]  # type: ignore[list-item]
