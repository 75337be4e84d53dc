from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from diffusers import AutoencoderTiny

from studio.errors import ModelUnavailable
from studio.evaluate import vae
from studio.evaluate.ask import Ask
from studio.evaluate.report import folder_sha256
from studio.settings import ROOT
from studio.world.vocabulary import STYLES
from tests.tiny import make_little_world


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A models folder with an autoencoder that was never trained."""
    folder: Path = tmp_path_factory.mktemp("models")
    make_little_world(folder / "little-world")
    (folder / "perception").symlink_to(ROOT / "models" / "perception")
    return SimpleNamespace(models_dir=folder)


def test_each_measure_has_a_row_over_all_styles_and_one_for_each(settings: SimpleNamespace):
    report = vae.run(settings, Ask(preset="smoke", samples=24))
    for name, unit in (("PSNR", "dB"), ("style read", "")):
        rows = [row for row in report.rows if row.name == name]
        assert rows[0].where == "all styles"
        assert {row.where for row in rows[1:]} <= set(STYLES)
        assert len(rows) > 3
        for row in rows:
            assert row.unit == unit
            assert row.low is not None and row.high is not None and row.low <= row.value <= row.high
    assert report.model_sha256 == folder_sha256(settings.models_dir / "little-world" / "vae")


@pytest.mark.parametrize(("preset", "targets"), [("smoke", []), ("cpu", [26.0, 0.95]), ("gpu", [30.0, 0.95])])
def test_only_the_rows_over_all_styles_have_the_presets_targets(
    settings: SimpleNamespace, preset: str, targets: list[float]
):
    rows = vae.run(settings, Ask(preset=preset, samples=4)).rows
    assert [row.target for row in rows if row.target is not None] == targets
    assert all(row.where == "all styles" for row in rows if row.target is not None)


def test_with_next_to_no_loss_every_style_is_read_at_its_ceiling(
    settings: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(AutoencoderTiny, "forward", lambda self, x: SimpleNamespace(sample=0.999 * x))
    rows = vae.run(settings, Ask(preset="smoke", samples=32)).rows
    assert next(row.value for row in rows if row.name == "style read") == 1.0


def test_a_missing_autoencoder_is_named(tmp_path: Path):
    with pytest.raises(ModelUnavailable) as refused:
        vae.run(SimpleNamespace(models_dir=tmp_path), Ask())
    assert refused.value.key == "no_vae"
