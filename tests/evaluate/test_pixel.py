"""The DDPM's rows of `evaluate diffusion`, on one that was trained for a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studio.engine.pixel import RAW, PixelModel
from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.evaluate.pixel import drawn, pixel_rows, truth_of
from studio.evaluate.report import ReportRow
from studio.perception.measure import Measure
from studio.train import ddpm, perception, places
from studio.train.run import Options


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a DDPM and an eye."""
    folder: Path = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", folder / "runs")
        for stage in (ddpm, perception):
            stage.main(Options("smoke", out=folder))
    return folder


@pytest.fixture(scope="module")
def rows(models: Path) -> dict[str, ReportRow]:
    return {row.name: row for row in pixel_rows(models, Ask(preset="smoke"))}


def test_it_tells_of_steps_of_weights_and_of_variances(rows: dict[str, ReportRow]):
    distances = {"fd_world_ddim_2", "fd_world_raw_ddim_2", "fd_world_ddpm_beta_2", "fd_world_ddpm_beta_tilde_2"}
    assert set(rows) == distances | {"pixel_kind_as_told"}
    assert all(rows[name].value > 0 and rows[name].ceiling is not None for name in distances)


def test_no_rows_without_the_model(tmp_path: Path):
    assert list(pixel_rows(tmp_path, Ask(preset="smoke"))) == []


def test_true_pictures_are_as_near_as_two_true_sets_are(models: Path):
    truth = truth_of(Measure.load(models / "perception"), 32, 8, 0)
    assert truth.features.shape == (8, 192)
    assert truth.floor > 0


def test_equal_seeds_draw_equal_pictures_and_the_label_matters(models: Path):
    model, labels = PixelModel.load(models / "ddpm"), torch.tensor([0, 1])
    one, again, other = (drawn(model, which, 2, "beta", 0) for which in (labels, labels, labels.flip(0)))
    assert (one == again).all()
    assert (one != other).any()


def test_guidance_of_zero_is_no_label_bit_by_bit(models: Path):
    model, x = PixelModel.load(models / "ddpm"), torch.randn(2, 3, 32, 32)
    plain, guided = (model.denoiser(labels, 0.0)(x, 500) for labels in (None, torch.tensor([3, 4])))
    assert torch.equal(plain, guided)


def test_both_weights_can_be_loaded_and_missing_ones_are_named(models: Path, tmp_path: Path):
    average, raw = PixelModel.load(models / "ddpm"), PixelModel.load(models / "ddpm", RAW)
    assert any(not torch.equal(a, b) for a, b in zip(average.net.parameters(), raw.net.parameters(), strict=True))
    with pytest.raises(ModelUnavailable, match="config"):
        PixelModel.load(tmp_path / "ddpm")
