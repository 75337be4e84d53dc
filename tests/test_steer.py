"""What the command line says of maps becomes units of a request, or a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.controls import CONTROLS
from studio.errors import InvalidInput
from studio.steer import Mapped, Steered
from studio.types import ControlUse, Fit
from tests.test_cli import FakeStudio, run, studio

__all__ = ["studio"]
SIZE = (64, 48)


@dataclass
class FakeDetectors:
    asked: list[tuple[str, tuple[int, int]]] = field(default_factory=list)

    def detect(self, detector_id: str, picture: Image.Image, **options: Any) -> Image.Image:
        self.asked.append((detector_id, picture.size))
        return Image.new("RGB", picture.size, "white")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.new("RGB", (96, 48), (10, 20, 30)).save(tmp_path / "map.png")
    return tmp_path / "map.png"


def use_of(told: str, detectors: FakeDetectors | None = None, family: str = "little_world", **more: Any) -> ControlUse:
    return Mapped(told, **more).use(Steered(family, CONTROLS, SIZE, detectors or FakeDetectors()))


@pytest.mark.parametrize(
    ("behind", "numbers"),
    [("", (1.0, 0.0, 1.0)), (":0.8", (0.8, 0.0, 1.0)), (":0.8:0.1", (0.8, 0.1, 1.0)), (":2:0:0.5", (2.0, 0.0, 0.5))],
)
def test_a_map_with_its_numbers_becomes_a_unit(file: Path, behind: str, numbers: tuple[float, ...]) -> None:
    use = use_of(f"depth:{file}{behind}")
    assert (use.control_id, use.model_id) == ("depth", "little-world-controlnet-depth")
    assert (use.scale, use.start, use.end) == numbers
    assert use.images[0].size == SIZE


def test_a_file_with_colons_is_found(tmp_path: Path) -> None:
    Image.new("RGB", SIZE).save(tmp_path / "a:b.png")
    assert use_of(f"pose:{tmp_path / 'a:b.png'}:0.5").scale == 0.5


def test_a_map_is_fitted_as_the_picture_is(file: Path) -> None:
    cropped, fitted = (use_of(f"depth:{file}", fit=fit).images[0] for fit in (Fit.CROP, Fit.FIT))
    assert cropped.getpixel((0, 0)) == (10, 20, 30)
    assert fitted.getpixel((0, 0)) == (255, 255, 255)


def test_a_detector_is_asked_where_one_is_named(file: Path) -> None:
    detectors = FakeDetectors()
    use = use_of(f"pose@openpose:{file}:0.5", detectors)
    assert detectors.asked == [("openpose", SIZE)]
    assert (use.control_id, use.scale) == ("pose", 0.5)
    assert use.images[0].getpixel((0, 0)) == (255, 255, 255)


def test_the_model_is_the_one_of_the_bases_family(file: Path) -> None:
    assert use_of(f"canny:{file}", family="sd15").model_id == "sd15-controlnet-canny"


@pytest.mark.parametrize(
    ("told", "key"),
    [("depth", "bad_control"), ("depth:", "bad_control"), ("depth:nowhere.png", "not_readable")],
)
def test_what_is_no_unit_is_refused(told: str, key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        use_of(told)
    assert caught.value.key == key


@pytest.mark.parametrize(("told", "named"), [("mood:{}", "mood"), ("depth:{}:3", "scale"), ("depth:{}:1:.6:.4", "end")])
def test_a_unit_that_cannot_be_is_refused_by_name(file: Path, told: str, named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        use_of(told.format(file))
    assert named in str(caught.value.values)


def test_generate_takes_several_maps(studio: FakeStudio, file: Path, tmp_path: Path) -> None:
    studio.controls, studio.detectors = CONTROLS, FakeDetectors()  # type: ignore[attr-defined]
    words = ["--control", f"depth:{file}:0.8", "--control", f"canny@canny:{file}", "--width", 64, "--height", 64]
    assert run("generate", "--task", "controlnet", "--prompt", "p", "--out", tmp_path / "a.png", *words) == 0
    (request,) = studio.requests
    assert [(use.control_id, use.scale) for use in request.controls] == [("depth", 0.8), ("canny", 1.0)]


def test_steering_by_maps_needs_one(studio: FakeStudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "--task", "controlnet", "--prompt", "p", "--out", tmp_path / "a.png") == 2
    assert "--control" in capsys.readouterr().err
