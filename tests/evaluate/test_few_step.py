from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from studio.engine.lora_usage import Usage
from studio.errors import ModelUnavailable
from studio.evaluate import few_step
from studio.evaluate.ask import Ask
from studio.evaluate.few_step import MOST_LOSS, rows_of, ways_of
from studio.evaluate.text2img import Tally
from studio.perception.measure import METRICS, WEIGHTS
from studio.perception.network import Eye
from studio.settings import Settings
from studio.train import few_step as training
from studio.train import places
from studio.train.run import Options
from studio.types import Defaults, Scheduler
from tests.tiny import make_little_world

OWN = Defaults(128, 128, 20, 4.0, Scheduler.DPMPP_2M)


def tally(right: int) -> Tally:
    return Tally(right={"background": right}, asked={"background": 10})


def test_the_base_is_asked_for_as_few_steps_with_either_sampler():
    ways = ways_of(OWN, Usage(Scheduler.DDIM, 4, 1.0))
    told = [(one.num_inference_steps, one.scheduler, one.guidance_scale) for one in ways.values()]
    assert told == [(20, Scheduler.DPMPP_2M, 4.0), (4, Scheduler.DPMPP_2M, 4.0), (4, Scheduler.DDIM, 4.0)]


def test_the_loss_is_against_the_base_at_its_own_steps():
    rows = rows_of({"own": tally(9), "few": tally(4), "LoRA": tally(8)}, "cpu")
    assert [row.value for row in rows] == pytest.approx([0.9, 0.4, 0.8, 0.1])
    assert {row.baseline for row in rows[:3]} == {0.9}
    assert (rows[-1].target, rows[-1].holds) == (MOST_LOSS["cpu"], False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a few-step LoRA that has learnt next to nothing, and an eye with random weights."""
    models = tmp_path_factory.mktemp("models")
    base = make_little_world(models / "little-world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", models.parent / "runs-of-few-step")
        training.main(Options("smoke", out=base))
    (models / "perception").mkdir()
    save_file(Eye().state_dict(), models / "perception" / WEIGHTS)
    told = json.dumps({"metrics": {}, "sha256": "ab"})
    (models / "perception" / METRICS).write_text(told, encoding="utf-8")
    return models


def test_the_question_is_answered(models: Path, tmp_path: Path):
    settings = Settings(models_dir=models, data_dir=tmp_path, device="cpu")
    report = few_step.run(settings, Ask(preset="smoke", samples=2))
    names = [row.name for row in report.rows]
    assert names.count("prompt accuracy") == names.count("FD-world") == 4
    assert report.rows[-1].name == "time" and report.rows[-1].value > 0


def test_without_the_lora_it_is_refused(models: Path, tmp_path: Path):
    shutil.copytree(models, tmp_path / "models")
    (tmp_path / "models" / "little-world" / "loras" / "few_step.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="train few-step"):
        few_step.run(Settings(models_dir=tmp_path / "models", device="cpu"), Ask(preset="smoke"))
