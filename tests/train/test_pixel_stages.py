"""The three small networks of the maths page, trained for a few steps, and what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from studio.diffusion.classifier import NoisyClassifier
from studio.diffusion.unet import UNet
from studio.lineage import weights_sha256
from studio.train import ddpm, noisy_classifier, places, vae_lab
from studio.train.data import lone_kinds, rendered_lone
from studio.train.run import Options
from studio.world.lone import kind_of, lone_of_seed, pinned_of_seed
from studio.world.scene import FIRST_HELD_OUT_SEED, is_held_out
from studio.world.vocabulary import KINDS

STAGES = (ddpm, vae_lab, noisy_classifier)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the three stages wrote into."""
    folder: Path = tmp_path_factory.mktemp("pixels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", folder / "runs")
        for stage in STAGES:
            stage.main(Options("smoke", out=folder))
        yield folder


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_leaves_a_card_and_its_facts(left: Path, stage: Any):
    folder = left / stage.FOLDER
    facts = read(folder / "metrics.json")
    assert facts["sha256"] == weights_sha256(folder)
    assert (facts["steps"], facts["stage"]) == (stage.PRESETS["smoke"].max_steps, stage.FOLDER)
    assert facts["sha256"] in (folder / "README.md").read_text(encoding="utf-8")


def test_the_ddpm_loads_from_its_config_with_either_weights(left: Path):
    config = read(left / ddpm.FOLDER / ddpm.CONFIG)
    weights = [load_file(left / ddpm.FOLDER / name) for name in (ddpm.AVERAGE, ddpm.RAW)]
    for tensors in weights:
        net = UNet(**config["network"])
        net.load_state_dict({name: value.float() for name, value in tensors.items()})
        assert net(torch.zeros(1, 3, config["side"], config["side"]), torch.tensor([3])).isfinite().all()
    assert any(not torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert (tuple(config["classes"]), config["schedule"], config["T"]) == (KINDS, "cosine", 1000)


def test_milestones_show_each_kind_by_both_weights(left: Path):
    pages = read(left / ddpm.FOLDER / ddpm.MILESTONES)
    assert pages[-1]["step"] == ddpm.PRESETS["smoke"].max_steps
    assert [page["step"] for page in pages] == sorted(page["step"] for page in pages)
    for page in pages:
        with Image.open(left / ddpm.FOLDER / "milestones" / page["file"]) as sheet:
            assert sheet.size == (32 * len(KINDS), 2 * 32)


def test_resuming_keeps_the_milestones_and_goes_on(left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    smoke = ddpm.PRESETS["smoke"]
    assert smoke.max_steps is not None
    monkeypatch.setattr(places, "RUNS", tmp_path / "runs")
    ddpm.main(Options("smoke", out=tmp_path))
    before = read(tmp_path / ddpm.FOLDER / ddpm.MILESTONES)
    monkeypatch.setitem(ddpm.PRESETS, "smoke", replace(smoke, max_steps=smoke.max_steps + 2))
    ddpm.main(Options("smoke", resume=True, out=tmp_path))
    after = read(tmp_path / ddpm.FOLDER / ddpm.MILESTONES)
    assert after[: len(before)] == before
    assert after[-1]["step"] == smoke.max_steps + 2 == read(tmp_path / ddpm.FOLDER / "metrics.json")["steps"]


def test_another_schedule_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "RUNS", tmp_path / "runs")
    ddpm.main(Options("smoke", minutes=1e-6, out=tmp_path, schedule="linear"))
    assert read(tmp_path / ddpm.FOLDER / ddpm.CONFIG)["schedule"] == "linear"


def test_the_classifier_tells_a_matrix_for_each_level_of_noise(left: Path):
    folder = left / noisy_classifier.FOLDER
    told, metrics = read(folder / noisy_classifier.CONFUSION), read(folder / "metrics.json")["metrics"]
    assert [level["t"] for level in told["levels"]] == list(noisy_classifier.LEVELS)
    for level in told["levels"]:
        matrix = torch.tensor(level["matrix"])
        assert int(matrix.sum()) == noisy_classifier.PRESETS["smoke"].held_out
        share = float(matrix.trace()) / float(matrix.sum())
        assert metrics[f"accuracy_t{level['t']}"] == pytest.approx(share, abs=1e-4)
    net = NoisyClassifier(**read(folder / noisy_classifier.CONFIG)["network"])
    net.load_state_dict({name: value.float() for name, value in load_file(folder / noisy_classifier.WEIGHTS).items()})


def test_the_lab_holds_an_autoencoder_for_each_weight(left: Path):
    folder = left / vae_lab.FOLDER
    models = vae_lab.build(vae_lab.PRESETS["smoke"])
    models.load_state_dict({name: value.float() for name, value in load_file(folder / vae_lab.WEIGHTS).items()})
    assert set(read(folder / vae_lab.CONFIG)["kl_weights"]) == set(models)
    metrics = read(folder / "metrics.json")["metrics"]
    assert "plain_sigma" not in metrics
    assert metrics["full_sigma"] > 0


def test_autoencoders_begin_alike_so_that_only_the_weight_differs():
    models = vae_lab.build(vae_lab.PRESETS["smoke"])
    for name, value in models["full"].state_dict().items():
        assert torch.equal(models["heavy"].state_dict()[name], value)


def test_weights_are_shipped_in_half_precision_and_are_small(left: Path):
    files = [path for stage in STAGES for path in (left / stage.FOLDER).glob("*.safetensors")]
    assert {value.dtype for path in files for value in load_file(path).values()} == {torch.float16}
    shipped = UNet(**ddpm.network_of(ddpm.PRESETS["cpu"]))
    assert 2 * sum(p.numel() for p in shipped.parameters()) < 4_000_000


def test_labels_belong_to_their_pictures(left: Path):
    kinds = lone_kinds(FIRST_HELD_OUT_SEED, 8)
    assert list(kinds) == [kind_of(lone_of_seed(FIRST_HELD_OUT_SEED + i)) for i in range(8)]
    assert rendered_lone(FIRST_HELD_OUT_SEED, 8, 32).shape == (8, 32, 32, 3)


def test_lone_scenes_show_one_thing_and_nothing_that_is_held_out():
    for seed in range(200):
        lone, pinned = lone_of_seed(seed), pinned_of_seed(seed)
        assert len(lone.entities) == 1 and not is_held_out(lone)
        assert kind_of(lone) == kind_of(pinned)
        assert (pinned.background, pinned.variant) == ("meadow", 7)
    assert {kind_of(lone_of_seed(seed)) for seed in range(200)} == set(range(len(KINDS)))
