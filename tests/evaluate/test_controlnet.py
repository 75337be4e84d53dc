from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from studio.errors import ModelUnavailable, StudioError
from studio.evaluate import controlnet
from studio.evaluate.ask import Ask
from studio.evaluate.controlnet import (
    GAIN_TARGETS,
    MEASURES,
    MOST_PROMPT_LOSS,
    PROMPT_MEASURES,
    Case,
    case_of,
    drawn,
    find_control,
    gain_interval,
    gain_rows,
    prompt_rows,
)
from studio.evaluate.text2img import BATCH, Painter, Tally
from studio.lineage import FACTS, weights_sha256
from studio.perception.heads import FOLDER, WEIGHTS, Heads, Structure
from studio.perception.measure import METRICS
from studio.perception.measure import WEIGHTS as EYE_WEIGHTS
from studio.perception.network import Eye
from studio.perception.structure import true_structure
from studio.settings import Settings
from studio.types import Defaults
from studio.world.maps import MAP_KINDS, canny_map, true_map
from studio.world.scene import Scene
from tests.tiny import make_little_world
from tests.truth import true_reading

SIZE, COUNT, SEED = 128, 6, 3
DEFAULTS = Defaults(width=SIZE, height=SIZE, num_inference_steps=2, guidance_scale=2.0)
CEILINGS = {"background": 0.99, "style": 0.98}


class Knowing:
    """An eye and a reader that know every render and read the truth of its scene."""

    ceilings = CEILINGS

    def __init__(self, scenes: Sequence[Scene], renders: Sequence[Any]) -> None:
        self.known = {one.image.tobytes(): scene for scene, one in zip(scenes, renders, strict=True)}


class KnowingEye(Knowing):
    def read(self, pictures: Sequence[Image.Image]) -> Any:
        return true_reading([self.known[picture.tobytes()] for picture in pictures])


class KnowingReader(Knowing):
    def read(self, pictures: Sequence[Image.Image]) -> list[Structure]:
        rows = [true_structure(self.known[picture.tobytes()]) for picture in pictures]
        return [Structure(row["depth"].astype(np.float32), row["joints"], row["visible"]) for row in rows]


def case(kind: Any, count: int = COUNT) -> Case:
    """A case whose eye and reader cannot err."""
    blank = case_of(kind, Ask(seed=SEED), count, SIZE, None, None)  # type: ignore[arg-type]
    known = (blank.scenes, blank.renders)
    return Case(kind, *known, KnowingReader(*known), KnowingEye(*known), "en")  # type: ignore[arg-type]


class Copyist:
    """A view that ignores its map and draws the true renders, one after another."""

    def __init__(self, case: Case) -> None:
        self.pictures = case.pictures()
        self.calls: list[dict[str, Any]] = []

    def __call__(self, prompts: Sequence[str], **settings: Any) -> SimpleNamespace:
        start = sum(len(call["generator"]) for call in self.calls)
        self.calls.append(settings)
        return SimpleNamespace(images=self.pictures[start : start + len(prompts)])


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_true_renders_obey_wholly_and_their_prompts_too(kind: Any):
    question = case(kind)
    tally, values = drawn(question, Painter(Copyist(question), DEFAULTS, SEED))
    assert values.tolist() == pytest.approx([1.0] * COUNT)
    assert {name: tally.share(name) for name in PROMPT_MEASURES} | {"person": 1.0} == dict.fromkeys(
        PROMPT_MEASURES, 1.0
    )


def test_every_picture_is_drawn_with_its_own_map():
    question = case("depth", BATCH + 2)
    view, maps = Copyist(question), question.true_maps()
    drawn(question, Painter(view, DEFAULTS, SEED, maps))
    assert [image for call in view.calls for image in call["image"]] == maps


def test_without_maps_none_is_handed_to_the_view():
    question = case("canny")
    view = Copyist(question)
    drawn(question, Painter(view, DEFAULTS, SEED))
    assert "image" not in view.calls[0]


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_a_preprocessor_that_knows_finds_the_true_map(kind: Any):
    question = case(kind)
    for found, true in zip(question.found_maps(), question.true_maps(), strict=True):
        a, b = np.asarray(found).astype(float), np.asarray(true).astype(float)
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.97  # depth is read in coarser cells


def test_the_edges_of_a_picture_are_its_true_map():
    question = case("canny")
    for found, rendered in zip(question.found_maps(), question.renders, strict=True):
        np.testing.assert_array_equal(np.asarray(found), canny_map(rendered.image))


def test_poses_are_asked_of_people_and_of_no_training_scene():
    question = case("pose")
    assert all(scene.person is not None for scene in question.scenes)
    others = case_of("depth", Ask(seed=SEED + 1), COUNT, SIZE, None, None)  # type: ignore[arg-type]
    assert not set(map(repr, others.scenes)) & set(map(repr, question.scenes))
    np.testing.assert_array_equal(np.asarray(question.true_maps()[0]), true_map("pose", question.renders[0]))


def numbers(mean: float, seed: int, count: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.1, count)


def test_the_gain_is_the_share_of_the_way_to_the_ceiling():
    baseline, ceiling = numbers(0.2, 0), numbers(0.8, 1)
    for share in (0.0, 0.5, 1.0):
        value = baseline + share * (ceiling.mean() - baseline.mean())
        _, gain = gain_rows("edge F1", "somewhere", value, baseline, ceiling, 0, 0.45)
        assert gain.value == pytest.approx(share)
        assert gain.low is not None and gain.high is not None and gain.low <= gain.value <= gain.high
        assert gain.holds is (share >= 0.45)


def test_the_interval_of_the_gain_has_the_width_of_the_delta_method():
    value, baseline, ceiling = numbers(0.5, 2), numbers(0.2, 3), numbers(0.8, 4)
    low, high = gain_interval(value, baseline, ceiling, 0)
    room, gain = 0.6, 0.5
    # d gain / d (value, baseline, ceiling) = (1, gain - 1, -gain) / room; each mean has a variance of 0.01 / 400.
    deviation = np.sqrt((1 + (gain - 1) ** 2 + gain**2) * 0.01 / 400) / room
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_a_row_carries_baseline_and_ceiling():
    row, gain = gain_rows("edge F1", "somewhere", numbers(0.5, 2), numbers(0.2, 3), numbers(0.8, 4), 0, None)
    assert (row.baseline, row.ceiling) == (pytest.approx(0.2, abs=0.02), pytest.approx(0.8, abs=0.02))
    assert (row.where, gain.target) == ("somewhere", None)


def test_a_ceiling_below_the_baseline_is_told():
    with pytest.raises(StudioError, match=r"ceiling \(0\.1\)"):
        gain_rows("edge F1", "somewhere", np.full(4, 0.3), np.full(4, 0.5), np.full(4, 0.1), 0, None)


def test_prompts_may_lose_little_to_the_map():
    told, kept = Tally(), Tally()
    for i in range(100):
        for name in PROMPT_MEASURES:
            told.add(name, i < 90)
            kept.add(name, i < (80 if name == "style" else 88))
    rows = {row.name.partition(",")[0]: row for row in prompt_rows(told, kept, has_targets=True)}
    assert {name: row.holds for name, row in rows.items()} == {name: name != "style" for name in PROMPT_MEASURES}
    assert (rows["style"].value, rows["style"].target) == (pytest.approx(0.1), MOST_PROMPT_LOSS)
    assert [row.target for row in prompt_rows(told, kept, has_targets=False)] == [None] * len(PROMPT_MEASURES)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world with an eye, heads, and silent ControlNets for edges and poses, as training leaves them."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    folder = tmp_path_factory.mktemp("models")
    world = make_little_world(folder / "little-world")
    torch.manual_seed(0)
    for name, file, part in (("perception", EYE_WEIGHTS, Eye()), (FOLDER, WEIGHTS, Heads())):
        (folder / name).mkdir()
        save_file(part.state_dict(), folder / name / file)
    eye = {"metrics": CEILINGS, "sha256": "ab", "builds_on": {}}
    (folder / "perception" / METRICS).write_text(json.dumps(eye), encoding="utf-8")
    heads = {"metrics": {}, "sha256": "cd", "builds_on": {"eye": weights_sha256(folder / "perception")}}
    (folder / FOLDER / METRICS).write_text(json.dumps(heads), encoding="utf-8")
    unet = UNet2DConditionModel.from_pretrained(world / "unet")
    for kind in ("canny", "pose"):
        control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 8, 8))
        control.save_pretrained(world / f"controlnet-{kind}")
        facts = json.dumps({"builds_on": {"unet": weights_sha256(world / "unet")}})
        (world / f"controlnet-{kind}" / FACTS).write_text(facts, encoding="utf-8")
    return folder


def test_a_missing_controlnet_says_how_to_train_it(models: Path):
    with pytest.raises(ModelUnavailable, match="train controlnet --kind depth"):
        find_control(models, "little-world", "depth")


def test_a_controlnet_of_another_base_is_refused_by_name(models: Path, tmp_path: Path):
    other = make_little_world(tmp_path / "little-world", seed=1)
    (other / "controlnet-canny").symlink_to(models / "little-world" / "controlnet-canny")
    with pytest.raises(ModelUnavailable) as refused:
        find_control(tmp_path, "little-world", "canny")
    assert (refused.value.key, refused.value.values["model"]) == ("other_base", "controlnet-canny")


def test_a_kind_has_to_be_named(models: Path):
    with pytest.raises(StudioError, match="--kind"):
        controlnet.run(Settings(models_dir=models, device="cpu"), Ask(preset="smoke"))


def test_a_silent_controlnet_gains_nothing_and_costs_nothing(models: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(controlnet, "given_back", lambda vae, pictures: list(pictures))
    ask = Ask(preset="smoke", samples=2, kind="canny")
    report = controlnet.run(Settings(models_dir=models, device="cpu"), ask)
    rows = {(row.name, row.where): row for row in report.rows}
    name = MEASURES["canny"]
    assert report.model_id == "little-world/controlnet-canny"
    assert rows[(f"{name}, gain", controlnet.TRUE_MAPS)].value == pytest.approx(0, abs=1e-9)
    assert rows[(name, "true renders")].value == 1.0
    assert [row.value for row in report.rows if "less with map" in row.name] == [0.0] * len(PROMPT_MEASURES)


def test_the_autoencoder_gives_pictures_back_at_their_size(models: Path):
    from diffusers import AutoencoderTiny

    vae = AutoencoderTiny.from_pretrained(models / "little-world" / "vae")
    pictures = case("canny", 2).pictures()
    back = controlnet.given_back(vae, pictures)
    assert [one.size for one in back] == [(SIZE, SIZE)] * 2
    expected = vae(torch.from_numpy(np.array(pictures[0])).permute(2, 0, 1)[None] / 127.5 - 1).sample.detach()
    seen = torch.from_numpy(np.array(back[0])).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(seen, expected.clamp(-1, 1), atol=0.01, rtol=0)


def test_every_preset_with_a_target_is_one_that_trains():
    assert set(GAIN_TARGETS) == {"cpu", "gpu"} and GAIN_TARGETS["gpu"] > GAIN_TARGETS["cpu"]
