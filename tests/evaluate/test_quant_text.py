"""`evaluate quant --model little-world` on a model that was never trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from studio.evaluate import quant, quant_measures, quant_text
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report
from studio.perception.measure import METRICS, WEIGHTS
from studio.perception.network import Eye
from studio.quant import simulated_methods
from studio.quant.methods import running
from studio.settings import Settings
from tests.tiny import make_little_world


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("models")
    make_little_world(folder / "little-world")
    (folder / "perception").mkdir()
    save_file(Eye().state_dict(), folder / "perception" / WEIGHTS)
    (folder / "perception" / METRICS).write_text(json.dumps({"metrics": {}, "sha256": "ab"}), encoding="utf-8")
    return Settings(models_dir=folder, device="cpu")


@pytest.fixture(scope="module")
def report(settings: Settings) -> Iterator[Report]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(quant_text.BITS, "smoke", ((8, 8), (8, 3)))
        patch.setattr(simulated_methods, "FIT_STEPS", 5)
        patch.setattr(quant_measures, "FRECHET_RESAMPLES", 3)
        yield quant.run(settings, Ask("little-world", preset="smoke", samples=2))


def test_a_model_that_draws_texts_is_told_from_a_folder_of_runs(settings: Settings):
    assert quant_text.is_text(settings, "little-world")
    assert not quant_text.is_text(settings, "tdq") and not quant_text.is_text(settings, None)


def test_every_method_has_its_rows(report: Report):
    assert (report.command, report.model_id, report.samples) == (
        "evaluate quant --model little-world",
        "little-world",
        2,
    )
    simulated = {f"{bits} {method}" for bits in ("W8A8", "W8A3") for method in quant_text.METHODS}
    wheres = simulated | {method.id for method in running("cpu")}
    for name in ("eps_mse", "psnr", "ssim"):
        assert {row.where for row in report.rows if row.name == name} == wheres
    assert wheres < {row.where for row in report.rows if row.name == "fd_world"}


def test_fewer_bits_are_further_from_full_precision(report: Report):
    found = {row.where: row.value for row in report.rows if row.name == "eps_mse"}
    for method in quant_text.METHODS:
        assert 0 < found[f"W8A8 {method}"] < found[f"W8A3 {method}"]
    assert found["openvino_f32"] < found["openvino_bf16"] < 1


def test_the_view_has_its_own_unet_again(report: Report, settings: Settings):
    """Also after a network that fails."""
    from types import SimpleNamespace

    from studio.evaluate.quant_walks import TextWalks
    from studio.evaluate.text2img import Painter
    from studio.types import Defaults

    def view(prompts: list[str], **asked: object) -> None:
        view.unet(torch.zeros(1))  # type: ignore[attr-defined]

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")

    own = SimpleNamespace()
    view.unet = own  # type: ignore[attr-defined]
    walks = TextWalks(None, Painter(view, Defaults(8, 8, 1, 1.0), 0), ["a"])  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="broken"):
        walks.walk(broken, 0)
    assert view.unet is own  # type: ignore[attr-defined]
