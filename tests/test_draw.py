"""`python -m studio generate` from a picture: files become what the request is drawn from, or a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.engine.infotext import pixel_sha256, read
from studio.types import Task
from tests.test_cli import SPECS, FakeStudio, run, studio

__all__ = ["studio"]
SIZE = ("--width", 64, "--height", 64)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A picture, its mask, a mask of another size, one of nothing, and no picture."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:32, 16:32] = 255
    pictures = {"image": noise, "mask": mask, "small": mask[:32], "empty": np.zeros_like(mask)}
    paths = {name: tmp_path / f"{name}.png" for name in pictures}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(paths[name])
    paths["text"] = tmp_path / "text.png"
    paths["text"].write_text("hello")
    return paths | {"missing": tmp_path / "missing.png", "out": tmp_path / "out.png"}


def generate(files: dict[str, Path], task: str, *arguments: object) -> int:
    return run("generate", "--prompt", "p", "--seed", 1, "--out", files["out"], "--task", task, *SIZE, *arguments)


def test_image_to_image_takes_its_picture_and_its_strength(studio: FakeStudio, files: dict[str, Path]):
    assert generate(files, "img2img", "--image", files["image"], "--strength", 0.4) == 0
    (request,) = studio.requests
    with Image.open(files["image"]) as image:
        assert request.init_image is not None and request.init_image.tobytes() == image.tobytes()
    assert (request.task, request.strength, request.mask) == (Task.IMAGE_TO_IMAGE, 0.4, None)


def test_inpainting_takes_a_mask_and_how_it_is_meant(studio: FakeStudio, files: dict[str, Path]):
    words = ["--image", files["image"], "--mask", files["mask"], "--feather", 3, "--invert"]
    assert generate(files, "inpaint", *words) == 0
    (request,) = studio.requests
    assert request.mask is not None and request.init_image is not None
    assert (np.asarray(request.mask) == 0).sum() == 256
    assert (request.task, request.strength, request.feather) == (Task.INPAINT, 1.0, 3)


def test_what_is_written_keeps_the_strength_and_the_hash_of_the_picture(studio: FakeStudio, files: dict[str, Path]):
    generate(files, "img2img", "--image", files["image"], "--strength", 0.4)
    written = files["out"].read_bytes()
    restored = read(written, SPECS)
    with Image.open(files["image"]) as image:
        assert restored.sources == {"init_image": pixel_sha256(image)}
    assert (restored.values["strength"], restored.values["task"]) == (0.4, Task.IMAGE_TO_IMAGE)
    assert b"Denoising strength: 0.4" in written


def test_what_is_done_to_the_picture_is_told(
    studio: FakeStudio, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
):
    Image.new("RGBA", (64, 64)).save(files["image"])
    assert generate(files, "img2img", "--image", files["image"], "--ground", "grey") == 0
    assert "Transparent parts lie on grey." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "words", "sentence"),
    [
        ("img2img", [], "image is missing"),
        ("img2img", ["--image", "missing"], "cannot be read"),
        ("img2img", ["--image", "text"], "cannot be read as a picture"),
        ("img2img", ["--image", "image", "--strength", "nan"], "strength must be a number from 0"),
        ("inpaint", ["--image", "image"], "mask is missing"),
        ("inpaint", ["--image", "image", "--mask", "small"], "The mask is 64 × 32 and its picture 64 × 64"),
        ("inpaint", ["--image", "image", "--mask", "empty"], "The mask is empty"),
        ("inpaint", ["--image", "image", "--mask", "mask", "--feather", "65"], "feather must be a whole number"),
    ],
)
def test_what_cannot_be_drawn_from_is_told_in_a_sentence_and_exit_2(
    studio: FakeStudio,
    files: dict[str, Path],
    task: str,
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
):
    assert generate(files, task, *(files.get(word, word) for word in words)) == 2
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told
    assert studio.requests == []
