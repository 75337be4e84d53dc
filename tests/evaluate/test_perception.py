from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from studio.errors import ModelUnavailable
from studio.evaluate import perception
from studio.evaluate.ask import Ask
from studio.perception.measure import METRICS, WEIGHTS
from studio.perception.network import Eye


@pytest.fixture
def settings(tmp_path: Path) -> SimpleNamespace:
    """A models folder with an eye that was never trained."""
    folder = tmp_path / "perception"
    folder.mkdir()
    torch.manual_seed(0)
    save_file(Eye().state_dict(), folder / WEIGHTS)
    (folder / METRICS).write_text(json.dumps({"metrics": {}, "sha256": "ab"}), encoding="utf-8")
    return SimpleNamespace(models_dir=tmp_path)


def test_the_report_has_a_row_for_everything_that_the_eye_reads(settings: SimpleNamespace):
    report = perception.run(settings, Ask(preset="smoke", samples=8, seed=3))
    names = {"background", "style", "shirt", "pants", "pose", "person", "character"}
    assert {row.name for row in report.rows} == names | {"kind_recall", "kind_precision", "colour"}
    assert all(0 <= row.value <= 1 for row in report.rows)
    assert (report.samples, report.seed, report.eye) == (8, 3, "ab")


def test_an_untrained_eye_misses_the_target_of_a_real_run_and_a_trial_has_none(settings: SimpleNamespace):
    assert not perception.run(settings, Ask(preset="cpu", samples=8)).holds
    assert perception.run(settings, Ask(preset="smoke", samples=8)).holds


def test_the_seed_chooses_the_scenes(settings: SimpleNamespace):
    first, second, again = (perception.run(settings, Ask(preset="smoke", samples=16, seed=s)).rows for s in (0, 1, 0))
    assert first == again != second


def test_a_missing_eye_is_named(tmp_path: Path):
    with pytest.raises(ModelUnavailable) as refused:
        perception.run(SimpleNamespace(models_dir=tmp_path), Ask())
    assert refused.value.key == "no_eye"
