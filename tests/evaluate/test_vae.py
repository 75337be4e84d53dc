from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from studio.errors import ModelUnavailable
from studio.evaluate import vae
from studio.evaluate.ask import Ask
from studio.evaluate.report import folder_sha256
from studio.world.vocabulary import STYLES
from tests.tiny import make_little_world


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A models folder with an autoencoder that was never trained."""
    folder: Path = tmp_path_factory.mktemp("models")
    make_little_world(folder / "little-world")
    return SimpleNamespace(models_dir=folder)


def test_there_is_a_row_over_all_styles_and_one_for_each(settings: SimpleNamespace):
    report = vae.run(settings, Ask(preset="smoke", samples=24))
    assert report.rows[0].where == "all styles"
    assert {row.where for row in report.rows[1:]} <= set(STYLES)
    assert len(report.rows) > 3
    for row in report.rows:
        assert (row.name, row.unit) == ("PSNR", "dB")
        assert row.low is not None and row.high is not None and row.low <= row.value <= row.high
    assert report.model_sha256 == folder_sha256(settings.models_dir / "little-world" / "vae")


@pytest.mark.parametrize(("preset", "target"), [("smoke", None), ("cpu", 26.0), ("gpu", 30.0)])
def test_only_the_row_over_all_styles_has_the_presets_target(
    settings: SimpleNamespace, preset: str, target: float | None
):
    rows = vae.run(settings, Ask(preset=preset, samples=4)).rows
    assert [row.target for row in rows] == [target] + [None] * (len(rows) - 1)


def test_a_missing_autoencoder_is_named(tmp_path: Path):
    with pytest.raises(ModelUnavailable) as refused:
        vae.run(SimpleNamespace(models_dir=tmp_path), Ask())
    assert refused.value.key == "no_vae"
