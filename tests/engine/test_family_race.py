"""The race of the four families: equal time for each, and scores that say what was missed and what made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from studio.diffusion.families import FAMILIES
from studio.diffusion.mixture import islands
from studio.engine import family_race
from studio.engine.family_race import POINTS, FamilyRace, scores
from studio.errors import Cancelled, InvalidInput
from studio.events import Row


def test_each_gets_the_same_time_and_rows_tell_the_standings(monkeypatch: pytest.MonkeyPatch):
    ticks = iter(range(10_000))
    monkeypatch.setattr(family_race.time, "monotonic", lambda: next(ticks) / 2)
    rows = list[Any]()
    context: Any = SimpleNamespace(emit=rows.append, yield_device=lambda: None)
    found = FamilyRace(8).run(context)
    assert {name: one.steps for name, one in found.items()} == dict.fromkeys(FAMILIES, 4)  # two seconds, half each
    assert [row.values["spent_seconds"] for row in rows if isinstance(row, Row)] == [4, 8]
    assert all(len(one.points) == POINTS for one in found.values())


def test_true_points_score_fully_and_one_island_does_not():
    world = islands()
    precision, coverage = scores(world, world.sample(2_000, torch.Generator().manual_seed(1)))
    assert precision == pytest.approx(0.99, abs=0.01) and coverage == 1
    one = world.means[4] + 0.01 * torch.randn(500, 2, dtype=torch.float64)
    assert scores(world, one) == (1.0, 0.2)
    assert scores(world, one + 9) == (0.0, 0.0)


def test_it_stops_when_it_is_told_to():
    def stop() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        FamilyRace(5).run(SimpleNamespace(emit=None, yield_device=stop))  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [4, 121, None, "x"])
def test_seconds_out_of_bounds_are_refused(seconds: Any):
    with pytest.raises(InvalidInput, match="seconds"):
        FamilyRace(seconds)
