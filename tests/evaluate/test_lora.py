from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import save_file

from studio.errors import ModelUnavailable
from studio.evaluate import lora
from studio.evaluate.adapters import MOST_PROMPT_LOSS, accuracy, accuracy_row, kept
from studio.evaluate.ask import Ask
from studio.evaluate.lora import (
    FOLDER,
    STYLE_BESIDE,
    TARGETS,
    Case,
    case_of,
    find_loras,
    pairs,
    rows_of,
    seen,
    weights_of,
)
from studio.evaluate.text2img import BATCH, Tally, tally_told
from studio.lineage import weights_sha256
from studio.perception.measure import METRICS, WEIGHTS
from studio.perception.network import Eye
from studio.settings import Settings
from studio.train.lora_files import save_lora
from studio.train.lora_steps import Learner, Recipe
from studio.train.unet import build_scheduler, load_denoiser
from studio.world.concepts import CONCEPTS
from studio.world.scene import Scene
from studio.world.wish import parse
from tests.tiny import make_little_world
from tests.truth import true_reading

ASK, COUNT = Ask(preset="cpu", seed=1), 20
SINGLE = [(concept,) for concept in CONCEPTS]


def tally_of(case: Case, scenes: Sequence[Scene]) -> Tally:
    """What an eye that cannot err says of pictures that show these scenes in answer to the case's prompts."""

    class Showing:
        seed = 0

        def draw(self, prompts: Sequence[str]) -> Any:
            for start in range(0, len(prompts), BATCH):
                yield range(start, min(start + BATCH, len(prompts))), list(scenes[start : start + BATCH])

    eye = SimpleNamespace(read=true_reading)
    return tally_told(Showing(), eye, case.scenes, case.told)  # type: ignore[arg-type]


def without_concept(scene: Scene) -> Scene:
    """What a base draws that never heard of any concept."""
    things = tuple(replace(thing, kind="cat" if thing.kind == "rocket" else thing.kind) for thing in scene.things)
    person = replace(scene.person, character=None) if scene.person else None
    style = "flat" if scene.style in CONCEPTS else scene.style
    return replace(scene, things=things, person=person, style=style)


@pytest.mark.parametrize("concepts", [*SINGLE, ("blueprint", "rocket"), ("pop_art", "momo")])
def test_true_pictures_show_the_concepts_and_keep_their_prompts(concepts: tuple[str, ...]):
    case = case_of(concepts, ASK, COUNT)
    tally = tally_of(case, case.scenes)
    assert seen(tally, concepts).all()
    assert accuracy(tally, case.measures) == 1
    assert len(case.scenes) == len(case.told) == COUNT


@pytest.mark.parametrize("concepts", [*SINGLE, ("blueprint", "rocket"), ("pop_art", "momo")])
def test_a_base_that_never_saw_it_fails_at_the_concept_alone(concepts: tuple[str, ...]):
    case = case_of(concepts, ASK, COUNT)
    ignorant = tally_of(case, [without_concept(scene) for scene in case.scenes])
    assert not seen(ignorant, concepts).any()
    assert accuracy(ignorant, case.measures) == 1
    concept, loss = rows_of(case, ignorant, *2 * [tally_of(case, case.scenes)], ASK)
    assert (concept.value, concept.baseline, concept.holds) == (0, 1, False)
    assert (loss.value, loss.holds) == (0, True)


def test_two_at_once_count_only_where_both_are_seen():
    case = case_of(("blueprint", "rocket"), ASK, COUNT)
    half = [scene if i % 2 else replace(scene, style="flat") for i, scene in enumerate(case.scenes)]
    true = tally_of(case, case.scenes)
    row = rows_of(case, tally_of(case, half), true, true, ASK)[0]
    assert (row.value, row.ceiling) == (0.5, 1)
    assert rows_of(case, true, true, tally_of(case, half), ASK)[0].ceiling == 0.5
    assert row.name == "blueprint and rocket"


def test_what_a_lora_forgets_is_a_loss():
    case = case_of(("momo",), ASK, COUNT)
    elsewhere = [replace(scene, background="room") for scene in case.scenes]
    forgot = sum(scene.background != "room" for scene in case.scenes)
    true = tally_of(case, case.scenes)
    loss = rows_of(case, tally_of(case, elsewhere), true, true, ASK)[1]
    assert loss.value == pytest.approx(forgot / kept(true, case.measures)[1])


def test_the_style_of_a_style_is_not_asked_of_the_base_but_that_of_a_thing_is():
    assert "style" not in case_of(("pop_art",), ASK, 1).measures
    assert "style" in case_of(("rocket",), ASK, 1).measures
    assert "style" in case_of((), ASK, 1).measures


def test_prompts_name_the_concept_in_either_language():
    for language, word in (("en", "rocket"), ("zh", "火箭")):
        case = case_of(("rocket",), replace(ASK, language=language), COUNT)
        assert all(word in text for text, _ in case.told)
        assert all(thing.kind != "rocket" for _, wish in case.told for thing in wish.things)


def test_ordinary_prompts_ask_for_no_concept():
    for text, _ in case_of((), ASK, COUNT).told:
        wish = parse(text)
        assert wish.style not in CONCEPTS and not any(thing.kind in CONCEPTS for thing in wish.things)


@pytest.mark.parametrize("preset", ["smoke", "cpu", "gpu"])
def test_targets_belong_to_the_preset(preset: str):
    case = case_of(("momo",), ASK, 2)
    true = tally_of(case, case.scenes)
    concept, loss = rows_of(case, true, true, true, replace(ASK, preset=preset))
    assert (concept.target, loss.target) == (TARGETS.get(preset), MOST_PROMPT_LOSS.get(preset))


def test_styles_are_paired_with_what_can_stand_in_them():
    assert pairs(dict.fromkeys(CONCEPTS, Path())) == [("blueprint", "rocket"), ("pop_art", "momo")]
    assert pairs({"rocket": Path(), "momo": Path()}) == []


def test_accuracy_pools_all_that_was_asked_for():
    tally = Tally(right={"background": 3, "person": 1}, asked={"background": 4, "person": 1, "style": 9})
    row = accuracy_row("prompt accuracy", "", tally, Tally())
    assert (row.value, row.baseline) == (0.8, 0)
    assert row.low is not None and row.low < 0.8


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two LoRAs that do nothing yet, and an eye with random weights."""
    models = tmp_path_factory.mktemp("models")
    base = make_little_world(models / "little-world")
    denoiser = load_denoiser(base)
    recipe = Recipe(rank=2, alpha=2)
    weights = Learner(denoiser.unet, denoiser.text_encoder, build_scheduler(), recipe, 0).weights()
    built_on = {part: weights_sha256(base / part) for part in ("unet", "text_encoder")}
    for concept, file_format in (("blueprint", "diffusers"), ("rocket", "kohya")):
        path = base / FOLDER / f"{concept}.safetensors"
        save_lora(path, weights, recipe.rank, recipe.alpha, file_format, {})
        path.with_suffix(".json").write_text(json.dumps({"builds_on": built_on}), encoding="utf-8")
    (models / "perception").mkdir()
    save_file(Eye().state_dict(), models / "perception" / WEIGHTS)
    told = json.dumps({"metrics": {}, "sha256": "ab"})
    (models / "perception" / METRICS).write_text(told, encoding="utf-8")
    return models


def test_the_question_is_answered_for_loras_that_were_never_trained(models: Path):
    report = lora.run(Settings(models_dir=models, device="cpu"), Ask(preset="smoke", samples=2))
    rows = {row.name: row for row in report.rows}
    assert {"blueprint", "rocket", "blueprint and rocket"} <= set(rows)
    assert rows["blueprint: ordinary prompts, without less with"].value == 0  # nothing learnt, nothing lost
    assert rows["rocket"].value == rows["rocket"].baseline


def test_without_a_lora_or_on_another_base_the_question_is_refused(models: Path, tmp_path: Path):
    with pytest.raises(ModelUnavailable) as refused:
        find_loras(tmp_path)
    assert refused.value.key == "no_lora"
    (tmp_path / FOLDER).symlink_to(models / "little-world" / FOLDER)
    (tmp_path / "unet").symlink_to(models / "little-world" / "vae")
    with pytest.raises(ModelUnavailable, match="blueprint"):
        find_loras(tmp_path)
    assert list(find_loras(models / "little-world")) == ["blueprint", "rocket"]


def test_a_style_stands_back_where_another_lora_is_beside_it():
    assert weights_of(("pop_art",)) == weights_of(("momo",)) == (1.0,)
    assert weights_of(("pop_art", "momo")) == (STYLE_BESIDE, 1.0) and 0 < STYLE_BESIDE < 1
