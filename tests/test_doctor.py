from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio import doctor
from studio.catalog.sd15 import SD15
from studio.doctor import (
    EVALUATIONS,
    Finding,
    examine_model,
    examine_models,
    examine_opencv,
    examine_packages,
    missing_files,
)
from studio.engine.places import Place
from studio.errors import ModelUnavailable
from studio.settings import ROOT, Settings
from studio.text import LANGUAGES
from studio.types import Source


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A complete pipeline, with the eye beside it: a UNet in two shards, a VAE in one file, no safety checker."""
    folder = tmp_path / "models" / "little-world"
    for part in ("unet", "vae", "scheduler"):
        (folder / part).mkdir(parents=True)
    parts = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(parts))
    shards = {"conv_in": "w-1.safetensors", "conv_out": "w-2.safetensors", "mid": "w-2.safetensors"}
    (folder / "unet" / "w.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name in ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"):
        (folder / name).write_text("{}")
    for name in ("unet/w-1.safetensors", "unet/w-2.safetensors", "vae/w.safetensors"):
        (folder / name).write_bytes(b"\0" * 1_000_000)
    eye = tmp_path / "models" / "perception"
    eye.mkdir()
    (eye / "model.safetensors").write_bytes(b"")
    return folder


def test_a_complete_pipeline_lacks_nothing_and_tells_its_size(pipeline: Path):
    assert missing_files(pipeline) == []
    assert examine_model(pipeline, needed=True) == Finding(
        True, "doctor.model", {"name": "little-world", "size": "3.0 MB"}
    )


@pytest.mark.parametrize(
    ("removed", "missing"),
    [
        (["unet/w-2.safetensors"], ["unet/w-2.safetensors"]),
        (["vae/w.safetensors"], ["vae/*.safetensors"]),
        (["scheduler/scheduler_config.json"], ["scheduler/"]),
    ],
)
def test_what_a_pipeline_lacks_is_named(pipeline: Path, removed: list[str], missing: list[str]):
    for name in removed:
        (pipeline / name).unlink()
    assert missing_files(pipeline) == missing


@pytest.mark.parametrize("name", ["model_index.json", "unet/w.safetensors.index.json"])
def test_a_damaged_list_counts_as_missing(pipeline: Path, name: str):
    (pipeline / name).write_text('{"unet": ')
    assert missing_files(pipeline) == [name]


def test_a_model_that_is_not_a_pipeline_needs_weights(tmp_path: Path):
    (tmp_path / "metrics.json").write_text("{}")
    assert missing_files(tmp_path) == ["*.safetensors"]
    (tmp_path / "eye.safetensors").write_bytes(b"")
    assert missing_files(tmp_path) == []


def test_the_shipped_model_is_needed_and_another_is_only_told(pipeline: Path):
    (pipeline / "vae" / "w.safetensors").unlink()
    other = pipeline.parent / "own-lora"
    other.mkdir()
    findings = {finding.values["name"]: finding.good for finding in examine_models(pipeline.parent)}
    assert (findings["little-world"], findings["own-lora"]) == (False, None)


def test_a_missing_models_folder_names_the_shipped_model(tmp_path: Path):
    first = next(examine_models(tmp_path / "nothing"))
    assert (first.good, first.values["missing"]) == (False, "little-world/")


def test_packages_are_compared_with_the_pins(tmp_path: Path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# pinned\none==1.0\ntorch==2.15.0\ntwo==2.0\nthree==3.0\n")
    installed = {"one": "1.0", "torch": "2.15.0+cpu", "two": "2.1"}
    findings = [(finding.good, finding.key) for finding in examine_packages(requirements, installed.get)]
    assert findings == [
        (True, "doctor.package"),
        (True, "doctor.package"),
        (False, "doctor.package_other"),
        (False, "doctor.package_missing"),
    ]


def test_every_line_of_the_requirements_is_pinned():
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        wanted = [line for line in lines if line.strip() and not line.startswith(("#", "-r "))]
        assert [line for line in wanted if not doctor.PINNED.fullmatch(line)] == []


@pytest.mark.parametrize(("headless", "good"), [("5.0.0.93", True), ("5.0.0.80", False)])
def test_both_builds_of_opencv_must_have_one_version(headless: str, good: bool):
    versions = {"opencv-python": "5.0.0.93", "opencv-python-headless": headless}
    assert [finding.good for finding in examine_opencv(versions.get)] == [good]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_is_healthy_only_if_nothing_needed_is_missing(
    pipeline: Path, language: str, capsys: pytest.CaptureFixture[str]
):
    settings = Settings(device="cpu", models_dir=pipeline.parent, language=language)
    assert doctor.report(settings) == 0
    (pipeline / "unet" / "w-1.safetensors").unlink()
    assert doctor.report(settings) == 1
    assert "unet/w-1.safetensors" in capsys.readouterr().out


def test_a_device_that_is_not_there_is_a_finding_and_no_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (finding,) = doctor.examine_machine(Settings(device="cuda"))
    assert (finding.good, finding.key) == (False, "error.no_such_device")


@pytest.mark.parametrize(("number_bytes", "text"), [(1_234_000, "1.2 MB"), (16_000_000_000, "16.0 GB")])
def test_sizes_are_said_in_units(number_bytes: int, text: str):
    assert doctor.size(number_bytes) == text


def test_a_model_of_a_hub_is_not_needed_and_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    findings = {str(finding.values.get("name")): finding for finding in doctor.examine_hub_models(tmp_path)}
    assert findings["sdxl"] == Finding(None, "doctor.model_absent", {"name": "sdxl", "size": "6.9 GB"})
    assert "python -m studio download sdxl" in findings["sdxl"].line("zh")


def test_a_model_that_lies_in_the_models_folder_is_told_once(tmp_path: Path):
    (tmp_path / "sd15").mkdir()
    assert "sd15" not in {finding.values.get("name") for finding in doctor.examine_hub_models(tmp_path)}
    assert "sd15" in {finding.values.get("name") for finding in examine_models(tmp_path)}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (
            Place(SD15, None, Source("huggingface", "some/repo", "0123456789abcdef"), 2_100_000_000),
            "ok  Model sd15, 2.1 GB, from some/repo @ 01234567",
        ),
        (
            Place(SD15, ModelUnavailable("model_damaged", model="sd15", file="unet/config.json")),
            "--  The model sd15 is damaged: unet/config.json is cut off, changed or no such file at all. "
            "Download or copy it again.",
        ),
    ],
)
def test_a_model_in_the_cache_of_a_hub_is_told(place: Place, line: str):
    assert doctor.examine_place(place).line("en") == line


@pytest.mark.parametrize("offline", [True, False])
def test_being_offline_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    assert ("doctor.offline" in [finding.key for finding in doctor.examine_hub_models(tmp_path)]) is offline


def test_what_measurements_answered_is_no_model(tmp_path: Path):
    (tmp_path / EVALUATIONS).mkdir()
    (tmp_path / "own").mkdir()
    named = [finding.values.get("name") for finding in examine_models(tmp_path)]
    assert EVALUATIONS not in named
    assert "own" in named
