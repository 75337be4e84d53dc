"""`evaluate quant` on a DDPM and a queue of runs that were trained for a few steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from studio.diffusion.observe import plan
from studio.diffusion.quantizers import QuantizedLayer
from studio.engine.pixel import PixelModel
from studio.errors import ModelUnavailable
from studio.evaluate import quant, quant_measures
from studio.evaluate.ask import Ask
from studio.evaluate.pixel import truth_of
from studio.evaluate.quant_measures import Drawn, Judge, gain_rows, rows_of
from studio.evaluate.quant_walks import PixelWalks, Real
from studio.evaluate.report import Report
from studio.perception.measure import Measure
from studio.perception.network import frechet_distance
from studio.quant import simulated_methods
from studio.quant.method import Recipe
from studio.quant.methods import running
from studio.quant.simulated_methods import SIMULATED
from studio.settings import Settings
from studio.train import ddpm, perception, places, tdq
from studio.train.run import Options


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a DDPM, an eye and two trained runs."""
    folder: Path = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", folder / "runs")
        for stage in (ddpm, perception, tdq):
            stage.main(Options("smoke", out=folder))
        yield folder


@pytest.fixture(scope="module")
def report(models: Path) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(quant.BITS, "smoke", ((8, 8), (8, 3)))
        patch.setattr(simulated_methods, "FIT_STEPS", 20)
        patch.setattr(quant, "CALIBRATION_STEPS", 4)
        patch.setattr(quant_measures, "FRECHET_RESAMPLES", 3)
        return quant.run(SimpleNamespace(models_dir=models), Ask(preset="smoke"))


def walks_of(models: Path, count: int, steps: int) -> PixelWalks:
    labels = torch.arange(count)
    return PixelWalks(Measure.load(models / "perception"), PixelModel.load(models / "ddpm"), labels, steps)


def judge_of(models: Path, count: int, steps: int) -> Judge:
    walks = walks_of(models, count, steps)
    truth = truth_of(walks.eye, walks.model.side, count, 0)
    return Judge(walks, walks.model.net, Real(truth.features, truth.floor), 0)


def value(report: Report, name: str, where: str) -> float:
    (row,) = [row for row in report.rows if (row.name, row.where) == (name, where)]
    return row.value


def test_the_preflight_comes_first_and_tells_of_every_layer(report: Report, models: Path):
    names = [row.name for row in report.rows]
    layers = [row.where for row in report.rows if row.name == "range_r"]
    assert names[:3] == ["share_abs_r_above_0.5", "share_abs_r_above_0.7", "median_range_ratio"]
    assert names.index("range_ratio") < names.index("fd_world")
    net = PixelModel.load(models / "ddpm").net
    assert len(layers) == len({*layers}) and all(net.get_submodule(layer) for layer in layers)
    ratios = [row.value for row in report.rows if row.name == "range_ratio"]
    assert all(ratio >= 1 for ratio in ratios)
    middle = value(report, "median_range_ratio", f"{len(layers)} layers, 4 times")
    assert middle == pytest.approx(sorted(ratios)[(len(ratios) - 1) // 2])


def test_every_method_and_every_trained_run_has_its_rows(report: Report):
    wheres = {row.where for row in report.rows if row.name == "eps_mse"}
    simulated = {f"{bits} {method.id}" for bits in ("W8A8", "W8A3") for method in SIMULATED}
    real = {method.id for method in running("cpu")}
    groups = {row.where for row in report.rows if row.name == "time_dependence"}
    assert len(groups) == 3 and {"openvino_int8", "bf16"} <= real
    assert wheres == simulated | real | groups | {"W4A4 lsq-0 trained", "W4A4 tdq-0 trained"}
    wheres -= groups
    for name in ("psnr", "ssim", "fd_world"):
        assert wheres <= {row.where for row in report.rows if row.name == name}


def test_no_row_tells_of_speed_or_memory(report: Report):
    assert not {row.unit for row in report.rows} & {"s", "ms", "MB", "GB", "bytes"}


def test_fewer_bits_are_further_from_full_precision(report: Report):
    for method in SIMULATED:
        eight, three = (value(report, "eps_mse", f"{bits} {method.id}") for bits in ("W8A8", "W8A3"))
        assert eight < three, method.id


def test_every_row_that_is_a_mean_has_an_interval_that_holds_it(report: Report):
    rows = [row for row in report.rows if row.name in ("eps_mse", "psnr", "ssim", "fd_world", "psnr_gain")]
    assert len(rows) > 60
    for row in rows:
        assert row.low is not None and row.high is not None
        assert row.low - 1e-9 <= row.value <= row.high + 1e-9


def test_the_distance_stands_between_full_precision_and_the_floor(report: Report):
    full = value(report, "fd_world", "full precision")
    rows = [row for row in report.rows if row.name == "fd_world" and not row.where.startswith("full precision")]
    assert {row.baseline for row in rows} == {full} and len({row.ceiling for row in rows}) == 1


def test_steps_are_swept_with_the_same_tables(report: Report):
    wheres = {row.where for row in report.rows if row.where.endswith(", 3 steps")}
    expected = {f"{bits} {method}, 3 steps" for bits in ("W8A4", "W4A4") for method in ("mse", "tdq_ptq")}
    assert wheres == expected | {f"W4A4 {name}-0 trained, 3 steps" for name in ("lsq", "tdq")}


def test_the_report_is_one_object_of_json(report: Report):
    told = json.loads(report.as_json())
    assert (
        told["command"] == "evaluate quant" and told["model"]["id"] == "ddpm" and len(told["rows"]) == len(report.rows)
    )


def test_full_precision_against_itself_is_no_difference(models: Path):
    judge = judge_of(models, 3, steps=2)
    itself = judge.drawn(judge.net)
    assert float(itself.eps_mse.max()) < 1e-10
    assert float(itself.psnr.min()) > 90 and float(itself.ssim.min()) > 0.999
    rows = {row.name: row for row in rows_of("itself", itself, judge)}
    assert rows["fd_world"].value == pytest.approx(judge.full_distance, rel=1e-3)
    assert judge.full_distance == frechet_distance(judge.features, judge.real.features)


def test_the_guesses_are_compared_at_what_full_precision_met(models: Path):
    judge = judge_of(models, 2, steps=3)

    class Off(torch.nn.Module):
        def forward(self, xt, t, labels):  # type: ignore[no-untyped-def]
            return judge.net(xt, t, labels) + 0.5

    assert judge.drawn(Off()).eps_mse.tolist() == pytest.approx([0.25, 0.25], rel=1e-4)
    assert [int(call[0][1][0]) for call in judge.full.calls] == [999, 666, 332]
    (x, t, labels), _ = judge.full.calls[1]
    with torch.inference_mode():
        assert torch.allclose(judge.net(x, t, labels), judge.answers[1], atol=1e-5)


def test_a_picture_s_noise_is_its_own_whatever_the_batch(models: Path, monkeypatch: pytest.MonkeyPatch):
    walks = walks_of(models, 3, steps=2)
    together = walks.walk(walks.model.net, 0)
    monkeypatch.setattr("studio.evaluate.quant_walks.BATCH", 2)
    apart = walks.walk(walks.model.net, 0)
    assert torch.allclose(together.pictures, apart.pictures, atol=1e-4)
    assert len(apart.calls) == 2 and apart.calls[0][0][0].shape == (2, 3, 32, 32)


def test_gains_are_picture_by_picture():
    def of(values: list[float]) -> Drawn:
        return Drawn(torch.zeros(3), torch.tensor(values), torch.zeros(3), torch.zeros(3, 2))

    drawn = {
        "W8A5 mse": of([20.0, 30.0, 40.0]),
        "W8A5 tdq_ptq": of([21.0, 31.0, 41.0]),
        "W4A4 lsq-1 trained": of([20.0, 20.0, 20.0]),
        "W4A4 tdq-1 trained": of([19.0, 20.0, 21.0]),
        "W4A4 tdq-0-shuffled trained": of([1.0, 1.0, 1.0]),
    }
    rows = {row.where: row for row in gain_rows(drawn, 0)}
    assert set(rows) == {"W8A5 tdq_ptq over mse", "W4A4 tdq-1 trained over lsq-1 trained"}
    first, second = rows.values()
    assert (first.value, first.low, first.high) == (1, 1, 1)
    assert second.value == 0 and second.low is not None and second.low < 0


def test_runs_from_another_base_are_refused(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "RUNS", tmp_path / "runs")
    ddpm.main(Options("smoke", out=tmp_path, seed=1))
    with pytest.raises(ModelUnavailable, match="w4a4-lsq-0"):
        list(quant.trained(PixelModel.load(tmp_path / "ddpm"), models / "tdq", tmp_path / "ddpm"))


def test_a_name_that_is_neither_a_model_nor_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(ModelUnavailable, match="litle-world"):
        quant.run(Settings(models_dir=tmp_path, device="cpu"), Ask("litle-world", preset="smoke"))


def test_without_the_ddpm_it_is_named(tmp_path: Path):
    with pytest.raises(ModelUnavailable, match="ddpm"):
        quant.run(SimpleNamespace(models_dir=tmp_path), Ask(preset="smoke"))


def test_groups_of_layers_are_told_from_the_least_to_the_most_dependent(report: Report):
    strengths = [row.value for row in report.rows if row.name == "time_dependence"]
    assert strengths == sorted(strengths) and len(strengths) == 3
    assert len([row for row in report.rows if row.name == "eps_mse_gained"]) == 3


def test_only_the_named_layers_have_steps_that_know_the_time(models: Path):
    walks = walks_of(models, 2, steps=4)
    calls = walks.walk(walks.model.net, 1).calls
    names = [site.name for site in plan(walks.model.net, calls[0]).sites][:2]
    made = simulated_methods.timed_where(walks.model.net, Recipe(8, 4, calls), names)
    tables = {name: part.inputs.steps for name, part in made.named_modules() if isinstance(part, QuantizedLayer)}
    assert {name for name, s in tables.items() if s.unique().numel() > 1} == {*names}
