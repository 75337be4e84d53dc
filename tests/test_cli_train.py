from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from studio.__main__ import Concept, main
from studio.train.run import Options
from studio.world.concepts import CONCEPTS


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each training that the command line starts."""
    calls: list[dict[str, Any]] = []
    for name in ("studio.train.unet", "studio.train.lora"):
        module = ModuleType(name)
        module.main = lambda options: calls.append(asdict(options))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def run(*arguments: object) -> int:
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_train_hands_everything_to_the_stage(trained: list[dict[str, Any]], tmp_path: Path):
    words = ["train", "unet", "--preset", "smoke", "--minutes", "0.5", "--resume", "--seed", "3"]
    assert run(*words, "--init-from", tmp_path, "--out", tmp_path / "new") == 0
    expected = {**asdict(Options("smoke")), "minutes": 0.5, "resume": True, "seed": 3}
    assert trained == [{**expected, "init_from": tmp_path, "out": tmp_path / "new"}]


@pytest.mark.parametrize(
    "words",
    [["train", "nothing"], ["train", "unet", "--preset", "tpu"], ["train", "unet", "--minutes", "0"], ["train"]],
)
def test_train_refuses_what_it_does_not_know(trained: list[dict[str, Any]], words: list[str]):
    assert run(*words) == 2
    assert trained == []


def test_a_lora_gets_its_pictures_and_its_word(trained: list[dict[str, Any]], tmp_path: Path):
    assert run("train", "lora", "--images", tmp_path, "--trigger", "my mug", "--format", "kohya") == 0
    expected = {"images": tmp_path, "trigger": "my mug", "concept": None, "file_format": "kohya"}
    assert {name: trained[0][name] for name in expected} == expected


def test_every_concept_of_the_world_can_be_asked_for():
    assert set(get_args(Concept)) == set(CONCEPTS)


@pytest.mark.parametrize("option", [("--trigger", "sks"), ("--concept", "momo"), ("--format", "kohya")])
def test_what_only_a_lora_takes_is_refused_elsewhere(option: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    assert run("train", "unet", *option) == 2
    told = capsys.readouterr().err
    assert option[0] in told and "unet" in told


def test_a_schedule_is_refused_where_there_is_none_to_choose(capsys: pytest.CaptureFixture[str]):
    assert run("train", "unet", "--schedule", "cosine") == 2
    assert "--schedule" in capsys.readouterr().err
