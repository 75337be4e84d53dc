from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from studio.errors import ModelUnavailable
from studio.evaluate import text2img
from studio.evaluate.ask import Ask
from studio.evaluate.report import wilson
from studio.evaluate.text2img import BATCH, TARGETS, Painter, Tally, distance_rows, language_rows, rows_of, tally_of
from studio.perception.measure import METRICS, WEIGHTS
from studio.perception.network import ALL_KINDS, Eye, Reading
from studio.settings import Settings
from studio.types import Defaults
from studio.world.caption import describe
from studio.world.render import render_image
from studio.world.scene import Scene, scene_of_seed
from tests.tiny import make_little_world
from tests.truth import SURE, true_reading

SCENES = [scene_of_seed(seed) for seed in range(40)]
SIZE, SEED = 32, 5
DEFAULTS = Defaults(width=SIZE, height=SIZE, num_inference_steps=3, guidance_scale=2.0)
CEILINGS = {"background": 0.99, "kind_recall": 0.9, "pants": 0.8}
ASKED_OF_ALL = ("background", "style", "person", "kind recall", "kind precision", "colour", "thing and colour")


class Renderer:
    """A view that draws the true render of the scene that a prompt tells, and keeps how it was called."""

    def __init__(self, language: str) -> None:
        self.calls: list[dict[str, Any]] = []
        self.scenes = {
            describe(scene, np.random.default_rng((SEED, i)), language, complete=True)[0]: scene
            for i, scene in enumerate(SCENES)
        }

    def __call__(self, prompts: Sequence[str], **settings: Any) -> SimpleNamespace:
        self.calls.append({"count": len(prompts), **settings})
        return SimpleNamespace(images=[picture_of(self.scenes[prompt]) for prompt in prompts])


class Knowing:
    """An eye that knows every render and reads the truth."""

    ceilings = CEILINGS

    def __init__(self, scenes: Sequence[Scene] = SCENES) -> None:
        self.known = {picture_of(scene).tobytes(): scene for scene in scenes}

    def read(self, pictures: Sequence[Image.Image]) -> Reading:
        return true_reading([self.known[picture.tobytes()] for picture in pictures])


class Misreading(Knowing):
    """It sees a mug in every picture, and every thing white."""

    def read(self, pictures: Sequence[Image.Image]) -> Reading:
        reading = super().read(pictures)
        reading.kinds[:, ALL_KINDS.index("mug")] = SURE
        reading.pairs[..., -1] = 2 * SURE
        return reading


def picture_of(scene: Scene) -> Image.Image:
    return Image.fromarray(render_image(scene, SIZE))


def tally(eye: Knowing, language: str = "en") -> Tally:
    return tally_of(Painter(Renderer(language), DEFAULTS, SEED), eye, SCENES, language)  # type: ignore[arg-type]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_true_renders_read_by_an_eye_that_knows_are_all_right(language: str):
    found = tally(Knowing(), language)
    assert set(ASKED_OF_ALL) | {"single thing", "shirt", "trousers"} == set(found.asked)
    assert {name: found.share(name) for name in found.asked} == dict.fromkeys(found.asked, 1.0)
    assert found.asked["background"] == len(SCENES)


def test_kinds_that_are_not_there_lower_the_precision():
    found = tally(Misreading())
    kinds = sum(len({thing.kind for thing in scene.things}) for scene in SCENES)
    mugless = sum(all(thing.kind != "mug" for thing in scene.things) for scene in SCENES)
    assert found.share("kind recall") == 1.0
    assert found.share("kind precision") == pytest.approx(kinds / (kinds + mugless))


def test_colours_are_right_as_often_as_the_eye_reads_them():
    found = tally(Misreading())
    coloured = [scene for scene in SCENES if scene.style != "line"]
    white = sum(thing.colour == "white" for scene in coloured for thing in scene.things)
    # Of two things of one kind, white is read for the one, and one of the true colours for the other.
    twins = sum(len({thing.kind for thing in scene.things}) < len(scene.things) for scene in coloured)
    assert found.asked["colour"] == sum(len(scene.things) for scene in coloured)
    assert found.right["colour"] == white + twins


def test_a_picture_is_drawn_with_the_models_settings_and_its_own_noise():
    view = Renderer("en")
    painter = Painter(view, DEFAULTS, SEED)
    places = [list(batch) for batch, _ in painter.draw(list(view.scenes))]
    assert [place for batch in places for place in batch] == list(range(len(SCENES)))
    assert [call["count"] for call in view.calls] == [BATCH, BATCH, len(SCENES) - 2 * BATCH]
    first = view.calls[0]
    assert (first["width"], first["num_inference_steps"], first["guidance_scale"]) == (SIZE, 3, 2.0)
    seeds = [generator.initial_seed() for call in view.calls for generator in call["generator"]]
    assert len(set(seeds)) == len(SCENES)


@pytest.mark.parametrize("preset", TARGETS)
def test_every_preset_has_the_same_rows_and_its_own_targets(preset: str):
    rows = rows_of(tally(Knowing()), tally(Knowing()), CEILINGS, TARGETS[preset])
    names = [*text2img.CEILINGS, "thing and colour", "single thing", "single thing", "unseen gap"]
    assert [row.name for row in rows] == names
    targets = {row.name: row.target for row in rows if row.target is not None}
    assert targets == (TARGETS[preset] | {"unseen gap": text2img.MOST_UNSEEN_GAP} if TARGETS[preset] else {})


def test_a_row_carries_its_interval_and_the_eyes_ceiling():
    found = tally(Misreading())
    row = {row.name: row for row in rows_of(found, found, CEILINGS, {})}
    low, high = wilson(found.right["colour"], found.asked["colour"])
    assert (row["colour"].low, row["colour"].high) == (low, high)
    assert (row["background"].ceiling, row["trousers"].ceiling, row["style"].ceiling) == (0.99, 0.8, None)


def test_the_gap_is_what_unseen_combinations_lose():
    gap = rows_of(tally(Knowing()), tally(Misreading()), CEILINGS, TARGETS["cpu"])[-1]
    assert gap.value == pytest.approx(1 - tally(Misreading()).share("single thing"))
    assert gap.holds is False


def test_a_question_that_nothing_answered_knows_nothing():
    rows = rows_of(Tally(), Tally(), {}, {})
    assert {(row.value, row.low, row.high) for row in rows[:-1]} == {(0.0, 0.0, 1.0)}


def test_chinese_may_lose_little_against_english():
    rows = language_rows(tally(Misreading(), "zh"), tally(Knowing()), has_targets=True)
    assert {row.name.partition(",")[0]: row.holds for row in rows} == {
        "background": True,
        "style": True,
        "kind recall": True,
        "colour": False,
        "person": True,
    }


def test_true_renders_have_no_distance_and_a_floor_above_it():
    others = [scene_of_seed(1_000 + i) for i in range(len(SCENES))]
    (row,) = distance_rows({"": tally(Knowing())}, Knowing([*SCENES, *others]), SCENES, 1_000, SIZE)  # type: ignore[arg-type]
    assert (row.name, row.sense, row.target) == ("FD-world", "lower", None)
    assert row.value == pytest.approx(0, abs=1e-3)
    assert row.ceiling is not None and row.ceiling > 1


def test_the_distance_grows_when_features_shift():
    found = tally(Knowing())
    found.features = [features + 1 for features in found.features]
    eye = Knowing([*SCENES, *(scene_of_seed(1_000 + i) for i in range(len(SCENES)))])
    (row,) = distance_rows({"": found}, eye, SCENES, 1_000, SIZE)  # type: ignore[arg-type]
    assert row.value == pytest.approx(torch.cat(found.features).shape[1], rel=1e-6)


def test_without_an_eye_the_question_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ModelUnavailable) as refused:
        text2img.run(SimpleNamespace(models_dir=tmp_path), replace(Ask(), preset="smoke"))
    assert refused.value.key == "no_eye"


def test_the_question_is_answered_for_a_model_that_was_never_trained(tmp_path: Path):
    make_little_world(tmp_path / "little-world")
    (tmp_path / "perception").mkdir()
    save_file(Eye().state_dict(), tmp_path / "perception" / WEIGHTS)
    facts = json.dumps({"metrics": CEILINGS, "sha256": "ab"})
    (tmp_path / "perception" / METRICS).write_text(facts, encoding="utf-8")
    report = text2img.run(Settings(models_dir=tmp_path, device="cpu"), Ask(preset="smoke", samples=2, language="zh"))
    assert (report.model_id, report.eye, report.samples) == ("little-world", "ab", 2)
    names = [row.name for row in report.rows]
    assert names[-1] == "FD-world" and "background, English less Chinese" in names
    assert report.holds
