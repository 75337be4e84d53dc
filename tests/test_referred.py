"""What the command line says of reference pictures becomes one use of a control, or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.controls import CONTROLS
from studio.errors import InvalidInput
from studio.steer import Referred, Steered
from studio.types import ControlUse, Task
from tests.test_cli import FakeStudio, run, studio
from tests.test_steer import FakeDetectors

__all__ = ["studio"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a.png", "b:c.png"):
        Image.new("RGB", (9, 7), "red").save(tmp_path / name)
    return tmp_path / "a.png", tmp_path / "b:c.png"


def use_of(*told: str, family: str = "little_world", **more: Any) -> ControlUse:
    return Referred(told, **more).use(Steered(family, CONTROLS, (64, 64), FakeDetectors()))


def test_references_with_and_without_weights_become_one_use(files: tuple[Path, Path]):
    use = use_of(f"{files[0]}:0.5", str(files[1]), scale=0.7, start=0.1, end=0.9, where="style")
    assert (use.control_id, use.model_id, len(use.images)) == ("ip_adapter", "little-world-ip-adapter", 2)
    assert (use.scale, use.start, use.end) == (0.7, 0.1, 0.9)
    assert use.options == {"where": "style", "weight_1": 0.5, "weight_2": 1.0}


def test_the_model_is_the_one_of_the_base_s_family(files: tuple[Path, Path]):
    assert use_of(str(files[0]), family="sd15").model_id == "sd15-ip-adapter"
    with pytest.raises(InvalidInput, match="sdxl"):
        use_of(str(files[0]), family="sdxl")


@pytest.mark.parametrize(("told", "key"), [((), "needs_image"), (("nowhere.png:0.5",), "not_readable")])
def test_what_is_no_reference_is_refused(told: tuple[str, ...], key: str):
    with pytest.raises(InvalidInput) as refused:
        use_of(*told)
    assert refused.value.key == key


def test_generate_draws_after_references(studio: FakeStudio, files: tuple[Path, Path], tmp_path: Path):
    studio.controls, studio.detectors = CONTROLS, FakeDetectors()  # type: ignore[attr-defined]
    words = ["--reference", f"{files[0]}:0.5", "--reference", files[0], "--scale", 0.6, "--width", 64, "--height", 64]
    assert run("generate", "--task", "ip_adapter", "--prompt", "p", "--out", tmp_path / "o.png", *words) == 0
    (request,) = studio.requests
    (use,) = request.controls
    assert (request.task, use.control_id, use.scale) == (Task.TEXT_TO_IMAGE, "ip_adapter", 0.6)
    assert (use.options["weight_1"], use.options["weight_2"]) == (0.5, 1.0)


def test_generate_after_references_needs_one(studio: FakeStudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    studio.controls, studio.detectors = CONTROLS, FakeDetectors()  # type: ignore[attr-defined]
    assert run("generate", "--task", "ip_adapter", "--prompt", "p", "--out", tmp_path / "o.png") == 2
    assert "reference is missing" in capsys.readouterr().err
