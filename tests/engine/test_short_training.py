"""A training of seconds: its loss falls, its knobs are real, it lets others through and stops when it is told to."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from studio.diffusion.schedules import cosine
from studio.engine import short_training
from studio.engine.short_training import SAMPLES, ShortTraining, Stepper, Trained
from studio.errors import Cancelled, InvalidInput
from studio.events import Row

FLAT = np.full((4, 8, 8, 3), 200, np.uint8)
WORK = ShortTraining(FLAT, seconds=5)


def losses(work: ShortTraining, steps: int) -> list[float]:
    net, _, x0 = work._begin()
    step = Stepper(work, net, x0, cosine(1000))
    return [step() for _ in range(steps)]


def test_the_loss_falls_and_repeats_with_its_seed():
    one = losses(WORK, 30)
    assert sum(one[-8:]) < 0.9 * sum(one[:8])
    assert losses(WORK, 3) == one[:3] != losses(replace(WORK, seed=1), 3)


def test_the_kind_of_loss_is_really_used():
    squared, absolute = (losses(replace(WORK, loss=kind), 1)[0] for kind in ("l2", "l1"))
    assert squared == pytest.approx(1, abs=0.15)
    assert absolute == pytest.approx(0.8, abs=0.1)  # the mean of |N(0, 1)|


def test_a_network_that_is_not_told_the_time_learns_something_else():
    assert losses(WORK, 4)[-1] != losses(replace(WORK, uses_time=False), 4)[-1]


def test_it_tells_how_far_it_is_and_lets_others_through(monkeypatch: pytest.MonkeyPatch):
    ticks = iter(range(10_000))
    monkeypatch.setattr(short_training.time, "monotonic", lambda: next(ticks))
    rows, let_through = list[Any](), list[int]()
    context: Any = SimpleNamespace(emit=rows.append, yield_device=lambda: let_through.append(1))
    found = WORK.run(context)
    assert len(let_through) == 5  # by the clock above each step takes a second
    assert [row.values["spent_seconds"] for row in rows if isinstance(row, Row)] == [1, 2, 3, 4, 5]
    assert rows[-1].values["trained"] is found
    assert isinstance(found, Trained) and len(found.average) == len(found.raw) == SAMPLES
    assert [step for step, _ in found.losses] == [1, 2, 3, 4, 5]


def test_it_stops_between_two_steps():
    def stop() -> None:
        raise Cancelled

    context: Any = SimpleNamespace(emit=lambda event: None, yield_device=stop)
    with pytest.raises(Cancelled):
        WORK.run(context)


@pytest.mark.parametrize(("field", "value"), [("seconds", 4), ("seconds", 121), ("seconds", None), ("loss", "l3")])
def test_a_bad_knob_is_refused_by_name(field: str, value: Any):
    with pytest.raises(InvalidInput, match=field):
        replace(WORK, **{field: value})
