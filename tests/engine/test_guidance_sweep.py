"""The sweep over gamma: the same noise everywhere, what is measured is what was drawn, and nonsense is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine.generate import Generation
from studio.engine.guidance_sweep import GuidanceSweep, spread
from studio.errors import Cancelled, InvalidInput
from studio.events import Row
from studio.types import GenerationRequest, Scheduler

from .conftest import Listener

Requests = Callable[..., GenerationRequest]


class MeanEye:
    """Takes a picture for obedient where it is brighter than grey; its features are the picture's mean colour."""

    def obedience(self, prompt: str, pictures: Sequence[Image.Image]) -> list[tuple[Any, ...]]:
        marks = [(SimpleNamespace(holds=bool(np.asarray(one).mean() > 127)),) for one in pictures]
        return [() for _ in pictures] if prompt == "nothing" else marks

    def read(self, pictures: Sequence[Image.Image]) -> Any:
        means = [np.asarray(one, float).mean((0, 1)) for one in pictures]
        return SimpleNamespace(features=torch.tensor(np.stack(means)))


def sweep(request: GenerationRequest, **also: Any) -> GuidanceSweep:
    return GuidanceSweep(request, MeanEye(), **{"gammas": (0.0, 1.0, 4.0), "count": 3, "steps": 5, **also})


def test_it_measures_what_it_draws(listener: Listener, request_for: Requests):
    points = sweep(request_for()).run(listener)
    assert [point.gamma for point in points] == [0.0, 1.0, 4.0]
    for point in points:
        means = [np.asarray(one, float).mean((0, 1)) for one in point.pictures]
        pairs = [np.linalg.norm(means[a] - means[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        assert point.diversity == pytest.approx(np.mean(pairs))
        assert point.accuracy == pytest.approx(np.mean([np.asarray(one).mean() > 127 for one in point.pictures]))


def test_its_pictures_are_those_that_the_studio_draws(listener: Listener, request_for: Requests):
    *_, last = sweep(request_for()).run(listener)
    wish = request_for(num_inference_steps=5, guidance_scale=4.0, scheduler=Scheduler.DDIM, num_images=3)
    for ours, theirs in zip(last.pictures, Generation(wish).run(listener).images, strict=True):
        assert np.abs(np.asarray(ours, float) - np.asarray(theirs, float)).max() <= 1


def test_without_guidance_the_prompt_is_not_heard(listener: Listener, request_for: Requests):
    one, other = (sweep(request_for(prompt=prompt)).run(listener) for prompt in ("a red house", "a blue cat"))
    same = [np.array_equal(a.pictures[0], b.pictures[0]) for a, b in zip(one, other, strict=True)]
    assert same == [True, False, False]


def test_it_tells_every_step_and_the_points_so_far(listener: Listener, request_for: Requests):
    sweep(request_for()).run(listener)
    assert [(step.index, step.total) for step in listener.steps] == [(i + 1, 15) for i in range(15)]
    rows = [event.values for event in listener.events if isinstance(event, Row)]
    assert [len(row["points"]) for row in rows] == [1, 2, 3]


def test_it_stops_between_two_steps(listener: Listener, request_for: Requests):
    listener.stop_after = 2
    with pytest.raises(Cancelled):
        sweep(request_for()).run(listener)
    assert len(listener.steps) == 2


def test_a_prompt_that_names_nothing_is_refused_before_anything_is_drawn(listener: Listener, request_for: Requests):
    with pytest.raises(InvalidInput, match="prompt names nothing"):
        sweep(request_for(prompt="nothing")).run(listener)
    assert listener.events == []


def test_the_spread_is_the_mean_over_pairs():
    assert spread(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])) == pytest.approx(10 / 3)
