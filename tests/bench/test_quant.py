"""The benchmark of quantized models, on a tiny one: which rows it has, and what they are measured against."""

from __future__ import annotations

import pytest

from studio.bench.quant import FULL, Found, best, run, running, told
from studio.bench.text2img import default_request
from studio.build import build_studio
from studio.evaluate.ask import Ask
from studio.settings import Settings
from tests.tiny import make_little_world

EIGHT = "openvino_int8"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("bench")
    make_little_world(root / "models" / "little-world")
    return Settings(models_dir=root / "models", data_dir=root / "outputs", device="cpu")


def test_real_methods_that_run_here_and_no_simulated_one(settings: Settings) -> None:
    studio = build_studio(settings)
    names = running(studio)
    studio.registry.key(default_request(studio, "little-world", 0).base_id, names[-1])
    studio.jobs.close()
    assert names[:2] == ["fp32", "bf16"] and EIGHT in names
    assert not {"mse", "tdq_ptq", "bitsandbytes_nf4"} & set(names)


@pytest.mark.slow
def test_it_reports_every_method_against_full_and_half_precision(settings: Settings) -> None:
    report = run(settings, Ask(preset="smoke", samples=2))
    rows = {row.name: row for row in report.rows}
    assert {f"{EIGHT}_over_fp32", f"{EIGHT}_over_bf16", f"{EIGHT}_size_over_fp32", f"{EIGHT}_psnr"} <= rows.keys()
    assert rows["openvino_f32_psnr"].value > 60
    assert rows["best_int8_over_fp32"].target == 0.5 and rows["best_int8_size_over_fp32"].target == 0.3
    assert rows["best_int8_psnr"].target == 30.0
    assert rows["bf16_size_over_fp32"].value < rows["openvino_f32_size_over_fp32"].value


def found(eight_seconds: list[float], decibels: list[float]) -> dict[str, Found]:
    return {
        FULL: Found([2.0, 2.2, 1.8], 100, [106.0]),
        "bf16": Found([1.0, 1.1, 0.9], 50, [40.0]),
        "slow_int8": Found([9.0, 9.0, 9.0], 28, [50.0]),
        EIGHT: Found(eight_seconds, 27, decibels),
    }


def test_the_targets_are_of_the_fastest_int8_row_and_the_lowest_picture() -> None:
    rows = {row.name: row for row in best(found([0.8, 0.9, 0.7], [38.0, 31.0]), "here", on_cpu=True)}
    assert rows["best_int8_over_fp32"].value == pytest.approx(0.4, abs=0.02)
    assert rows["best_int8_psnr"].value == 31.0
    assert all(row.holds for row in rows.values()) and all(EIGHT in row.where for row in list(rows.values())[:2])


def test_a_slow_or_a_far_int8_row_misses_its_target() -> None:
    rows = {row.name: row for row in best(found([1.9, 2.0, 2.0], [38.0, 29.0]), "here", on_cpu=True)}
    assert not rows["best_int8_over_fp32"].holds and not rows["best_int8_psnr"].holds
    assert rows["best_int8_size_over_fp32"].holds


def test_on_a_card_nothing_is_promised() -> None:
    assert all(row.target is None for row in best(found([1.0, 1.1, 0.9], [38.0]), "here", on_cpu=False))


def test_shares_are_of_the_same_round() -> None:
    rows = {row.name: row for row in told(found([1.0, 1.1, 0.9], [38.0]), "here")}
    assert rows[f"{EIGHT}_over_fp32"].value == pytest.approx(0.5)
    assert rows[f"{EIGHT}_over_bf16"].value == pytest.approx(1.0)
    assert rows[f"{EIGHT}_size_over_fp32"].value == 0.27
    assert f"{FULL}_over_fp32" not in rows
