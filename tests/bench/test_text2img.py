"""The benchmark of the picture, on a tiny model: what it calls, and what its numbers mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from studio.bench import text2img
from studio.bench.text2img import LARGEST_PSNR, Floor, psnr, run
from studio.build import build_studio
from studio.evaluate.ask import Ask
from studio.settings import Settings
from tests.tiny import make_little_world


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("bench")
    make_little_world(root / "models" / "little-world")
    return Settings(models_dir=root / "models", data_dir=root / "outputs", device="cpu")


def test_the_floor_is_each_call_of_the_unet_and_one_of_the_decoder(settings: Settings) -> None:
    studio = build_studio(settings)
    request = text2img.default_request(studio, "little-world", 0)
    with studio.registry.lease(studio.registry.key("little-world")) as lease:
        floor = Floor(lease, request)
        called: list[str] = []
        floor._unet = lambda *values, **named: called.append(f"unet {tuple(values[0].shape)}")
        floor._vae.decode = lambda latents, **named: called.append(f"decode {tuple(latents.shape)}")
        floor()
    studio.jobs.close()
    assert called == ["unet (2, 4, 16, 16)"] * 20 + ["decode (1, 4, 16, 16)"]


def test_it_reports_shares_of_stock_what_comes_on_top_and_how_near_the_pictures_are(settings: Settings) -> None:
    report = run(settings, Ask(preset="smoke", samples=2))
    rows = {row.name: row for row in report.rows}
    ratios = {f"{precision}_over_{base}" for precision in ("exact", "fast") for base in ("stock", "floor")}
    assert ratios <= rows.keys()
    assert {rows[name].target for name in ratios} == {0.5, 0.38, 1.05}
    assert rows["exact_psnr"].value >= 40.0 and rows["fast_psnr"].value >= 30.0
    share = rows["exact_over_stock"]
    assert share.low is not None and share.low <= share.value
    assert all(row.value > 0.0 for name, row in rows.items() if name.endswith("_seconds"))


def test_psnr_is_the_mean_square_in_decibels() -> None:
    black = Image.new("RGB", (8, 8))
    assert psnr(black, black) == LARGEST_PSNR
    assert math.isclose(psnr(black, Image.new("RGB", (8, 8), (1, 1, 1))), 20 * math.log10(255), abs_tol=1e-9)
    half = np.zeros((8, 8, 3), np.uint8)
    half[:4] = 255
    assert math.isclose(psnr(black, Image.fromarray(half)), 10 * math.log10(2), abs_tol=1e-9)
