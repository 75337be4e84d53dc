from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from studio.train import places
from studio.train.run import Options, Run, launch, warmup_cosine


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(places, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def trial(resume: bool = False, max_steps: int | None = 10) -> Run:
    return Run("vae", 0, 1, Options("smoke", resume=resume), minutes=60, max_steps=max_steps)


def test_the_rate_warms_up_stays_and_falls_to_two_percent():
    assert warmup_cosine(0.0, 0, 10, 0.3) == pytest.approx(0.1)
    assert warmup_cosine(0.0, 9, 10, 0.3) == 1.0
    assert warmup_cosine(0.29, 100, 10, 0.3) == 1.0
    assert warmup_cosine(0.65, 100, 10, 0.3) == pytest.approx(0.51)
    assert warmup_cosine(1.0, 100, 10, 0.3) == pytest.approx(0.02)
    assert warmup_cosine(1.5, 100, 10, 0.3) == pytest.approx(0.02)


def test_the_rate_never_rises_after_the_warm_up():
    factors = [warmup_cosine(step / 200, 100, 10, 0.3) for step in range(201)]
    assert factors == sorted(factors, reverse=True)


def test_a_run_is_finished_after_its_last_step():
    run = trial(max_steps=3)
    done = []
    while not run.finished:
        run.average_gradients([])
        done.append(run.fraction)
    assert done == pytest.approx([1 / 3, 2 / 3, 1], abs=1e-3)


def test_a_run_is_finished_when_its_time_is_over():
    run = Run("vae", 0, 1, Options("smoke", minutes=1e-9), minutes=60)
    run.average_gradients([])
    assert run.finished


def test_resuming_continues_at_the_saved_step_time_and_fraction(runs: Path):
    run = trial()
    for _ in range(4):
        run.average_gradients([])
    model, spent = torch.nn.Linear(2, 1), run.seconds
    run.save({"model": model})
    resumed, other = trial(resume=True), torch.nn.Linear(2, 1)
    resumed.resume({"model": other})
    assert (resumed.step, resumed.fraction) == (4, pytest.approx(0.4, abs=1e-3))
    assert torch.equal(other.weight, model.weight)
    assert resumed.seconds >= spent
    assert [path.name for path in (runs / "vae-smoke").iterdir()] == ["checkpoint.pt"]


def test_a_run_that_was_at_its_end_has_nothing_left_to_do():
    run = trial(max_steps=1)
    run.average_gradients([])
    run.save({})
    resumed = trial(resume=True, max_steps=1)
    resumed.resume({})
    assert resumed.finished


def test_without_resume_a_run_starts_anew():
    run = trial()
    run.average_gradients([])
    run.save({})
    fresh = trial()
    fresh.resume({})
    assert fresh.step == 0


def test_resuming_without_a_checkpoint_starts_anew():
    run = trial(resume=True)
    run.resume({})
    assert run.step == 0


def test_the_log_tells_means_at_the_end(capsys: pytest.CaptureFixture[str]):
    run = trial(max_steps=2)
    run.average_gradients([])
    assert not run.log(loss=1.0)
    run.average_gradients([])
    assert run.log(loss=2.0)
    run.close()
    assert "step 2 100.0%" in (told := capsys.readouterr().err)
    assert "loss 1.5000" in told


def averaging(rank: int, processes: int, options: Options) -> None:
    """A worker that writes what it holds after one step."""
    assert options.out is not None
    places.RUNS = options.out / "runs"
    run = Run("trial", rank, processes, options, minutes=60, max_steps=2)
    parameters = [torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(3))]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, float(rank))
    run.average_gradients(parameters)
    gradients = [parameter.grad.unique().tolist() for parameter in parameters if parameter.grad is not None]
    (options.out / f"{rank}.json").write_text(json.dumps([gradients, run.step, run.fraction]))
    run.barrier()
    run.close()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA a run is one process")
def test_processes_average_their_gradients_and_agree_on_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    launch(averaging, Options("cpu", out=tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    gradients, step, fraction = first
    assert (gradients, step) == ([[0.5], [0.5]], 1)
    assert fraction == pytest.approx(0.5, abs=1e-2)
