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
from transformers import CLIPConfig, CLIPModel

from studio.errors import ModelUnavailable
from studio.evaluate import ip_adapter
from studio.evaluate.ask import Ask
from studio.evaluate.ip_adapter import (
    CLIP,
    DEFAULT_SCALE,
    MOST_LEAK,
    SCALES,
    STYLE_TARGETS,
    Case,
    act_in,
    blocks_of,
    case_of,
    find_adapter,
    furthest,
    rows_of,
    shown,
    strangers_seen,
    told_to,
)
from studio.evaluate.report import ReportRow
from studio.evaluate.text2img import BATCH, Painter, Tally, tally_told
from studio.lineage import FACTS, weights_sha256
from studio.perception.measure import METRICS, WEIGHTS
from studio.perception.network import Eye
from studio.settings import Settings
from studio.train.clip import image_processor
from studio.train.picture_prompt import FILE, PicturePrompt
from studio.train.unet import load_denoiser
from studio.types import Defaults
from studio.world.scene import Scene, is_held_out
from studio.world.wish import Wish, parse
from tests.tiny import NATIVE_SIZE, make_little_world
from tests.truth import true_reading

COUNT, DIMS = 60, 8
ASK = Ask(preset="cpu", seed=2)
CASE = case_of(ASK, COUNT)
CEILING = 0.5
DEFAULTS = Defaults(width=NATIVE_SIZE, height=NATIVE_SIZE, num_inference_steps=2, guidance_scale=2.0)


def tally_of(scenes: Sequence[Scene]) -> Tally:
    """What an eye that cannot err says of pictures that show these scenes in answer to the case's prompts."""

    class Showing:
        seed = 0

        def draw(self, prompts: Sequence[str]) -> Any:
            for start in range(0, len(prompts), BATCH):
                yield range(start, min(start + BATCH, len(prompts))), list(scenes[start : start + BATCH])

    eye = SimpleNamespace(read=true_reading)
    return tally_told(Showing(), eye, CASE.scenes, CASE.told)  # type: ignore[arg-type]


PERFECT = tally_of(CASE.scenes)
UNMOVED = tally_of([replace(scene, style="flat") for scene in CASE.scenes])
COPIES = tally_of(CASE.references)


def rows(default: Tally, preset: str = "cpu") -> dict[tuple[str, str], ReportRow]:
    tallies = {scale: default if scale == DEFAULT_SCALE else UNMOVED for scale in SCALES}
    return {(row.name, row.where): row for row in rows_of(tallies, CASE, CEILING, replace(ASK, preset=preset))}


def row(default: Tally, name: str, preset: str = "cpu") -> ReportRow:
    return rows(default, preset)[name, f"scale {DEFAULT_SCALE:g}"]


def test_prompts_name_no_style_and_the_same_seed_asks_the_same():
    assert all(parse(text).style is None for text, _ in CASE.told)
    assert case_of(ASK, COUNT) == CASE
    assert case_of(Ask(seed=3), 4) != case_of(ASK, 4)


def test_what_is_asked_for_is_the_scene_in_the_references_style_and_never_a_held_out_one():
    assert [scene.style for scene in CASE.scenes] == [reference.style for reference in CASE.references]
    assert [wish.style for _, wish in CASE.told] == [reference.style for reference in CASE.references]
    assert not any(is_held_out(scene) for scene in CASE.scenes)


def test_colours_are_not_asked_of_a_style_that_shows_none():
    dressed = Wish(person=True, shirt="red", pants="blue")
    assert shown(dressed, "line") == Wish(person=True, style="line")
    assert shown(dressed, "neon") == replace(dressed, style="neon")
    lined = [i for i, scene in enumerate(CASE.scenes) if scene.style == "line"]
    coloured = sum(thing.colour is not None for i in range(COUNT) if i not in lined for thing in CASE.told[i][1].things)
    assert lined and PERFECT.asked["colour"] == coloured


def test_perfect_pictures_reach_the_ceiling_lose_nothing_and_leak_nothing():
    assert row(PERFECT, "style of the reference, of the ceiling").value == pytest.approx(1 / CEILING)
    assert row(PERFECT, "prompt accuracy, without less with").value == 0
    assert row(PERFECT, "leak").value == 0
    assert all(one.holds is not False for one in rows(PERFECT).values())


def test_an_adapter_that_does_nothing_has_the_style_by_chance_alone():
    found = row(UNMOVED, "style of the reference, of the ceiling")
    flat = sum(reference.style == "flat" for reference in CASE.references) / COUNT
    assert found.value == found.baseline == pytest.approx(flat / CEILING)
    assert found.holds is False


def test_copies_of_the_references_leak_all_and_forget_the_prompt():
    assert strangers_seen(COPIES, CASE).all() and len(strangers_seen(COPIES, CASE)) > COUNT / 2
    assert row(COPIES, "leak").value == 1
    assert row(COPIES, "prompt accuracy, without less with").value > 0.3
    assert [row(COPIES, name).holds for name in ("leak", "prompt accuracy, without less with")] == [False, False]


def test_what_the_prompt_asks_for_too_is_no_leak():
    case = Case(CASE.references, [(text, told) for text, told in CASE.told], CASE.references)
    own = Case(case.scenes, [("", parse(" ".join(t.kind for t in scene.things))) for scene in case.scenes], case.scenes)
    assert all(own.strangers(place)[0] == set() for place in range(COUNT))
    people = [own.strangers(place)[1] for place in range(COUNT)]
    assert people == [scene.person is not None for scene in own.scenes]


@pytest.mark.parametrize("preset", ["smoke", "cpu", "gpu"])
def test_targets_belong_to_the_preset_and_to_the_default_scale(preset: str):
    targets = {name: one.target for (name, where), one in rows(PERFECT, preset).items() if one.target is not None}
    if preset == "smoke":
        assert targets == {}
        return
    assert targets["style of the reference, of the ceiling"] == STYLE_TARGETS[preset]
    assert targets["leak"] == MOST_LEAK[preset]
    assert len(targets) == 3


def test_every_scale_has_its_rows():
    found = {where for name, where in rows(PERFECT) if name == "style of the reference"}
    assert found == {f"scale {scale:g}" for scale in SCALES}
    assert DEFAULT_SCALE in SCALES and 0.0 in SCALES


def test_every_prompt_gets_its_own_reference_and_the_empty_ones_none():
    embeddings = torch.arange(12.0).view(6, 2)
    (told,) = told_to(embeddings, range(2, 4))["ip_adapter_image_embeds"]
    assert told.tolist() == [[[0, 0]], [[0, 0]], [[4, 5]], [[6, 7]]]


def test_the_furthest_level_between_two_painters_is_found():
    def painter(level: int) -> Painter:
        pictures = lambda prompts, **more: SimpleNamespace(  # noqa: E731
            images=[Image.new("RGB", (2, 2), (level, 0, 0)) for _ in prompts]
        )
        return Painter(pictures, DEFAULTS, 0)

    assert furthest(painter(7), painter(7), ["a"] * 3) == 0
    assert furthest(painter(250), painter(5), ["a"] * 3) == 245


def test_a_block_alone_is_the_only_one_that_acts():
    names = [f"{block}.attentions.0.attn2.processor" for block in ("down_blocks.0", "mid_block", "up_blocks.1")]
    processors: dict[str, Any] = {name: SimpleNamespace(to_k_ip=(), scale=[1.0]) for name in names}
    unet = SimpleNamespace(attn_processors={**processors, "mid_block.attentions.0.attn1.processor": object()})
    assert blocks_of(unet) == ["down_blocks.0", "mid_block", "up_blocks.1"]
    act_in(unet, "mid_block")
    assert [processors[name].scale for name in names] == [[0.0], [DEFAULT_SCALE], [0.0]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a CLIP, an adapter and an eye, all with random weights."""
    models = tmp_path_factory.mktemp("models")
    base = make_little_world(models / "little-world")
    torch.manual_seed(3)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "image_size": 128, "patch_size": 32, "projection_dim": DIMS}
    CLIPModel(CLIPConfig(text_config=small, vision_config=vision, projection_dim=DIMS)).save_pretrained(models / CLIP)
    image_processor().save_pretrained(models / CLIP)
    folder = models / "little-world-ip-adapter"
    PicturePrompt(load_denoiser(base).unet, DIMS).save(folder / FILE)
    built_on = {"unet": weights_sha256(base / "unet"), "clip": weights_sha256(models / CLIP)}
    (folder / FACTS).write_text(json.dumps({"builds_on": built_on}), encoding="utf-8")
    (models / "perception").mkdir()
    save_file(Eye().state_dict(), models / "perception" / WEIGHTS)
    told = json.dumps({"metrics": {"style": 1.0}, "sha256": "ab"})
    (models / "perception" / METRICS).write_text(told, encoding="utf-8")
    return models


def test_the_question_is_answered_for_an_adapter_that_was_never_trained(models: Path):
    settings = Settings(models_dir=models, device="cpu")
    report = ip_adapter.run(settings, Ask(preset="smoke", samples=3, language="zh"))
    assert (report.model_id, report.eye, report.samples) == ("little-world-ip-adapter", "ab", 3)
    (unlike,) = [one for one in report.rows if one.name == "levels off the base"]
    assert unlike.value == 0 and unlike.holds
    alone = {one.where for one in report.rows if one.where.endswith(" alone")}
    assert alone == {"down_blocks.0 alone", "mid_block alone", "up_blocks.1 alone"}


def test_a_missing_adapter_and_one_of_another_clip_are_refused(models: Path, tmp_path: Path):
    with pytest.raises(ModelUnavailable) as refused:
        find_adapter(tmp_path, "little-world")
    assert refused.value.key == "no_ip_adapter"
    for part in ("little-world", "little-world-ip-adapter"):
        (tmp_path / part).symlink_to(models / part)
    (tmp_path / CLIP).mkdir()
    with pytest.raises(ModelUnavailable) as refused:
        find_adapter(tmp_path, "little-world")
    assert refused.value.values["part"] == "clip"


def test_a_reference_changes_the_picture_of_its_own_prompt_alone(models: Path):
    """Two references in one batch do what each of them does alone."""
    from studio.build import build_studio

    studio = build_studio(Settings(models_dir=models, device="cpu"))
    embeddings = torch.tensor(np.random.default_rng(0).normal(size=(2, DIMS)), dtype=torch.float32)
    try:
        with studio.registry.lease(studio.registry.key("little-world")) as lease:
            view = ip_adapter.referring_view(lease.components, models / "little-world-ip-adapter", DEFAULTS)
            pictures = {}
            for order in ([0, 1], [1, 0]):
                chosen = embeddings[order]
                painter = Painter(view, DEFAULTS, 1, also=lambda places, chosen=chosen: told_to(chosen, places))
                pictures[order[0]] = [np.asarray(p, int) for _, batch in painter.draw(["a", "a"]) for p in batch]
            alone = Painter(view, DEFAULTS, 1, also=lambda places: told_to(embeddings[:1], places))
            single = [np.asarray(p, int) for _, batch in alone.draw(["a"]) for p in batch]
    finally:
        studio.jobs.close()
    assert np.abs(pictures[0][0] - single[0]).max() <= 1
    assert np.abs(pictures[0][0] - pictures[1][0]).max() > 1
