"""The queue of runs that train with quantization, on a DDPM that was trained for a few steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.diffusion.exported import tables, unpack
from studio.diffusion.quantizers import QuantizedLayer
from studio.errors import ModelUnavailable
from studio.lineage import require_base
from studio.train import ddpm, places, tdq, tdq_runs
from studio.train.run import Options
from studio.train.tdq_runs import QUEUES, RESULT, WEIGHTS, Entry

SMOKE = [entry.id for entry in QUEUES["smoke"]]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the DDPM and the queue wrote into; the runs lie in `runs` below it."""
    folder: Path = tmp_path_factory.mktemp("queue")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", folder / "runs")
        for stage in (ddpm, tdq):
            stage.main(Options("smoke", out=folder))
        yield folder


@pytest.fixture
def again(left: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs that are run when the queue is begun once more."""
    monkeypatch.setattr(places, "RUNS", left / "runs")
    ran: list[str] = []

    def run_entry(entry: Entry, *arguments: Any) -> dict[str, Any]:
        ran.append(entry.id)
        return tdq_runs.run_entry(entry, *arguments)

    monkeypatch.setattr(tdq, "run_entry", run_entry)
    return ran


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_run_leaves_its_network_and_what_it_found(left: Path):
    for name in SMOKE:
        result = read(left / "runs" / "tdq-smoke" / name / RESULT)
        assert result["id"] == name and result["eps_mse"] > 0 and len(result["eps_mse_by_time"]) == tdq_runs.BINS
        assert len(result["losses"]) == 2


def test_a_shipped_network_is_read_back_with_its_table(left: Path):
    base, _ = tdq.base_of(left / "ddpm", tdq.PRESETS["smoke"])
    for entry in QUEUES["smoke"]:
        tensors = load_file(left / "tdq" / entry.id / WEIGHTS)
        net = unpack(base.net, tensors, entry.weight_bits, entry.activation_bits, base.schedule.T)
        layers = [part for part in net.modules() if isinstance(part, QuantizedLayer)]
        assert len(layers) == len(base.plan.sites) == len(tables(tensors, base.schedule.T))
        assert net(torch.zeros(1, 3, 32, 32), torch.tensor([7])).isfinite().all()


def test_the_artefact_says_what_it_was_built_on(left: Path):
    folder = left / "tdq"
    facts = read(folder / "metrics.json")
    require_base(folder, "ddpm", left / "ddpm")
    assert set(facts["metrics"]) == {"eps_mse_w4a4_lsq", "eps_mse_w4a4_tdq", "runs", "runs_left"}
    assert facts["sha256"] in (folder / "README.md").read_text(encoding="utf-8")
    assert [run["id"] for run in read(folder / tdq.RUNS)] == SMOKE and all(
        run["shipped"] for run in read(folder / tdq.RUNS)
    )


def test_the_ranges_are_those_of_the_base_s_own_walks(left: Path):
    ranges = load_file(left / "tdq" / tdq.RANGES)
    base, _ = tdq.base_of(left / "ddpm", tdq.PRESETS["smoke"])
    assert ranges["t"].tolist() == [999, 666, 332]
    for site in base.plan.sites:
        assert bool((ranges[f"{site.name}.low"] <= ranges[f"{site.name}.high"]).all())
    assert len(ranges) == 1 + 2 * len(base.plan.sites)


def test_runs_that_are_done_are_skipped(left: Path, again: list[str]):
    tdq.main(Options("smoke", out=left))
    assert again == []


def test_a_run_that_was_broken_off_begins_again(left: Path, again: list[str]):
    (left / "runs" / "tdq-smoke" / SMOKE[1] / RESULT).unlink()
    tdq.main(Options("smoke", out=left))
    assert again == SMOKE[1:]
    assert len(read(left / "tdq" / tdq.RUNS)) == len(SMOKE)


def test_another_recipe_or_another_base_is_another_run(
    left: Path, again: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    smoke = tdq.PRESETS["smoke"]
    monkeypatch.setattr(places, "RUNS", tmp_path)
    tdq.main(Options("smoke", out=left))
    monkeypatch.setitem(tdq.PRESETS, "smoke", replace(smoke, recipe=replace(smoke.recipe, steps=3)))
    tdq.main(Options("smoke", out=left))
    assert again == SMOKE * 2
    ddpm.main(Options("smoke", out=tmp_path / "other", seed=1))
    tdq.main(Options("smoke", out=tmp_path / "here", init_from=tmp_path / "other" / "ddpm"))
    assert again == SMOKE * 3


def test_no_run_begins_when_the_minutes_are_over(
    left: Path, again: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(places, "RUNS", tmp_path)
    tdq.main(Options("smoke", minutes=1e-9, out=left))
    assert again == []
    assert read(left / "tdq" / "metrics.json")["metrics"] == {"runs": 0, "runs_left": 2}


def test_without_a_base_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "RUNS", tmp_path)
    with pytest.raises(ModelUnavailable, match="ddpm"):
        tdq.main(Options("smoke", out=tmp_path))


def test_an_early_cut_leaves_pairs_of_lsq_and_tdq():
    for name, queue in QUEUES.items():
        assert (queue[0].method, queue[1].method) == ("lsq", "tdq"), name
        assert len({entry.id for entry in queue}) == len(queue)
    for number in range(0, 12, 2):
        lsq, timed = QUEUES["cpu"][number : number + 2]
        assert replace(lsq, method="tdq") == timed


def test_equal_runs_see_the_same_pictures_whatever_their_method(left: Path):
    base, _ = tdq.base_of(left / "ddpm", tdq.PRESETS["smoke"])
    scenes = tdq_runs.Scenes(
        *(getattr(tdq, name)(0, 32, *more) for name, more in (("rendered_lone", (32,)), ("lone_kinds", ())))
    )
    recipe = replace(tdq.PRESETS["smoke"].recipe, steps=1)
    lsq, timed, other = (
        tdq_runs.taught(entry, base, scenes, recipe)[1][0]
        for entry in (Entry("lsq", 8, 8, 0), Entry("tdq", 8, 8, 0), Entry("lsq", 8, 8, 1))
    )
    assert lsq == pytest.approx(timed, rel=0.02) and abs(lsq - other) > abs(lsq - timed)


@pytest.mark.parametrize("told", ["fourier", "raw", "shuffled", "intervals-5"])
def test_what_a_step_network_is_told(told: str):
    codes = Entry("tdq", 4, 4, 0, told).codes(1000)
    assert len(codes) == 1000
    assert (told in Entry("tdq", 4, 4, 0, told).id) == (told != "fourier")


def test_what_it_cannot_be_told_is_refused():
    with pytest.raises(ValueError, match="told must be"):
        Entry("tdq", 4, 4, 0, "nothing").codes(1000)
