"""The benchmark of a steered picture, on a tiny model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from studio.bench import controlnet
from studio.bench.controlnet import MOST_OF_STOCK, run
from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.settings import Settings
from studio.types import Precision
from tests.tiny import make_little_world
from tests.tiny_adapters import make_controlnet


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_little_world(tmp_path / "models" / "little-world")
    return Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "outputs", device="cpu")


def test_it_reports_the_share_of_stock_and_that_the_base_is_not_loaded_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = controlnet.default_request
    monkeypatch.setattr(controlnet, "default_request", lambda *asked: replace(stock(*asked), num_inference_steps=2))
    base = settings.models_dir / "little-world"
    make_controlnet(base).save_pretrained(base / "controlnet-depth")
    rows = {row.name: row for row in run(settings, Ask(preset="smoke", samples=1)).rows}
    assert (rows["models_loaded"].value, rows["models_loaded"].holds) == (1.0, True)
    share = rows["exact_over_stock"]
    assert (share.target, share.sense) == (MOST_OF_STOCK[Precision.EXACT], "lower")
    assert rows["exact_psnr"].value >= 40.0
    assert all(row.value > 0.0 for name, row in rows.items() if name.endswith("_seconds"))


def test_a_controlnet_that_is_missing_is_named(settings: Settings) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        run(settings, Ask(preset="smoke", samples=1))
    assert "controlnet-depth" in str(caught.value)
