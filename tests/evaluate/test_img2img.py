"""The rows about strength, on made-up curves and on a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.catalog.little_world import LITTLE_WORLD
from studio.engine.entry import Entry
from studio.engine.strengths import NEAR_RECONSTRUCTION, Point, Strengths
from studio.errors import InvalidInput
from studio.evaluate import img2img
from studio.evaluate.ask import Ask
from studio.evaluate.img2img import LEAST_RISING, rows_of, wish
from studio.settings import Settings
from studio.types import GenerationRequest, Scheduler, Task
from tests.tiny import make_little_world

STRENGTHS = (0.01, 0.5, 1.0)


def sweep(*differences: float, near: float = 1.0) -> Strengths:
    entry = Entry(0, 0.0, 1.0, 1, 1, (1.0,))
    points = (Point(s, entry, d, near) for s, d in zip(STRENGTHS, differences, strict=True))
    return Strengths(tuple(points), 0.0, 5.0)


def held(found: list[Strengths]) -> dict[str, bool | None]:
    return {row.name: row.holds for row in rows_of(found, seed=0) if row.target is not None}


def test_rising_curves_near_their_reconstruction_hold():
    assert set(held([sweep(1, 2, 3), sweep(2, 3, 5)]).values()) == {True}


def test_one_falling_scene_of_many_does_not_fail_the_mean_but_is_counted():
    found = [sweep(1, 2, 3)] * 3 + [sweep(1, 2.5, 2)]
    rows = {row.name: row for row in rows_of(found, seed=0)}
    assert (rows["rises throughout"].value, rows["rises throughout"].target) == (0.75, LEAST_RISING)
    assert held(found) == {"to the reconstruction": True, "smallest rise": True, "rises throughout": False}


def test_a_falling_mean_and_a_far_reconstruction_fail():
    found = [sweep(1, 3, 2, near=NEAR_RECONSTRUCTION + 1)]
    assert set(held(found).values()) == {False}


def test_the_curve_has_a_row_for_each_strength_above_the_autoencoders_own():
    rows = [row for row in rows_of([sweep(1, 2, 3), sweep(3, 4, 5)], seed=0) if row.name == "to the source"]
    assert [(row.where, row.value, row.ceiling) for row in rows] == [
        ("strength 0.01", 2.0, 5.0),
        ("strength 0.5", 3.0, 5.0),
        ("strength 1", 4.0, 5.0),
    ]


def test_a_scene_repeats_with_its_seed():
    first, again, other = (wish(LITTLE_WORLD, Ask(seed=seed), 3) for seed in (1, 1, 2))
    assert first.init_image is not None and again.init_image is not None and other.init_image is not None
    assert first.init_image.tobytes() == again.init_image.tobytes() != other.init_image.tobytes()
    assert (first.prompt, first.task, first.init_image.size) == (again.prompt, Task.IMAGE_TO_IMAGE, (128, 128))


def small(*arguments: Any) -> GenerationRequest:
    """The same wish, for a model that has little time."""
    request = wish(*arguments)
    assert request.init_image is not None
    return replace(request, width=64, height=64, num_inference_steps=5, init_image=request.init_image.resize((64, 64)))


def test_a_report_tells_what_each_sampler_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(img2img, "wish", small)
    make_little_world(tmp_path / "models" / "little-world")
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path, device="cpu", backend="torch")
    report = img2img.run(settings, Ask(preset="smoke"))
    rows = [row for row in report.rows if row.name in ("left at strength 1", "changed by its negative")]
    assert [row.where for row in rows] == [one.value for one in Scheduler for _ in range(2)]
    assert {row.where: row.value for row in rows[::2]}["ddim"] == 0.0
    assert {row.where: row.value for row in rows[1::2]}["ddim"] == 0.0
    assert json.loads(report.as_json())["model"]["id"] == "little-world"


def test_an_unknown_model_is_refused(tmp_path: Path):
    with pytest.raises(InvalidInput, match="unknown"):
        img2img.run(Settings(data_dir=tmp_path), Ask(model="unknown"))
