"""A program brings a picture, with Stable Diffusion 1.5's shapes too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from studio.engine.infotext import pixel_sha256, read
from tests.e2e.conftest import free_port, running_studio
from tests.e2e.pictures import SIDE, files, pixels
from tests.tiny import make_sd15

__all__ = ["files"]
pytestmark = pytest.mark.e2e

GOOD: dict[str, Any] = {
    "prompt": "a red ball on the beach",
    "negative_prompt": "",
    "strength": 0.5,
    "seed": 3,
    "width": 64,
    "height": 64,
    "steps": 4,
    "guidance": 4.0,
    "sampler": "ddim",
    "model": "little-world",
    "precision": "exact",
    "fit": "crop",
    "ground": "white",
}
PAINT = {"feather": 2, "invert": False}


@pytest.fixture(scope="module")
def url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio that has a Stable Diffusion 1.5 of random weights beside its own models, and one for inpainting."""
    folder = tmp_path_factory.mktemp("models")
    for own in models.iterdir():
        (folder / own.name).symlink_to(own)
    make_sd15(folder / "sd15")
    make_sd15(folder / "sd15-inpaint", in_channels=9)
    with running_studio(folder, tmp_path_factory.mktemp("studio"), free_port()) as (address, _):
        yield address


def from_picture(client: Client, image: Path, **changed: Any) -> tuple[str, dict[str, Any]]:
    path, answer = client.predict(image=handle_file(image), **{**GOOD, **changed}, api_name="/img2img")
    return path, answer


def repaint(client: Client, image: Path, mask: Path, **changed: Any) -> tuple[str, dict[str, Any]]:
    values = {**GOOD, **PAINT, "strength": 1.0, **changed}
    path, answer = client.predict(image=handle_file(image), mask=handle_file(mask), **values, api_name="/inpaint")
    return path, answer


@pytest.mark.parametrize("model", ["little-world", "sd15"])
def test_a_program_draws_from_a_picture_and_gets_the_same_bytes_twice(
    client: Client, files: dict[str, Path], model: str
):
    path, answer = from_picture(client, files["picture.png"], model=model)
    again, _ = from_picture(client, files["picture.png"], model=model)
    assert Path(path).read_bytes() == Path(again).read_bytes()
    restored = read(Path(path).read_bytes(), (model,))
    assert (answer["task"], answer["strength"], restored.values["strength"]) == ("img2img", 0.5, 0.5)
    assert restored.sources["init_image"] == answer["init_image"]


def test_its_events_tell_of_the_half_of_the_steps_that_is_run(client: Client, files: dict[str, Path]):
    job = client.submit(image=handle_file(files["picture.png"]), **{**GOOD, "steps": 20}, api_name="/img2img")
    job.result()
    steps = [answer for _, answer in job.outputs() if answer["phase"] == "step"]
    told = [answer["index"] for answer in steps]  # a slow reader misses some
    assert told == sorted(set(told)) and set(told) <= set(range(11))
    assert {answer["total"] for answer in steps} == {10}


@pytest.mark.parametrize("model", ["little-world", "sd15", "sd15-inpaint"])
def test_a_program_repaints_a_part_and_the_rest_keeps_its_bytes(client: Client, files: dict[str, Path], model: str):
    path, answer = repaint(client, files["picture.png"], files["mask.png"], model=model, width=SIDE, height=SIDE)
    old, new = pixels(files["picture.png"]), pixels(path)
    far = np.ones((SIDE, SIDE), bool)
    far[30:66, 30:66] = False
    assert (old[far] == new[far]).all() and (old[32:64, 32:64] != new[32:64, 32:64]).any(axis=-1).mean() > 0.9
    with Image.open(files["picture.png"]) as source:
        assert answer["init_image"] == pixel_sha256(source)
    assert (answer["task"], answer["feather"]) == ("inpaint", 2)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("moving.gif", "picture_first_frame"),
        ("cmyk.jpg", "picture_cmyk"),
        ("deep.png", "picture_sixteen_bit"),
        ("clear.png", "picture_transparent_white"),
    ],
)
def test_what_was_done_to_a_picture_is_told(client: Client, files: dict[str, Path], name: str, note: str):
    assert from_picture(client, files[name])[1]["source_notes"] == [note]


def test_one_pixel_is_enough(client: Client, files: dict[str, Path]):
    assert from_picture(client, files["pixel.png"])[1]["source_notes"] == []


@pytest.mark.parametrize(
    ("name", "changed", "sentence"),
    [
        ("text.png", {}, "init_image: this file cannot be read as a picture"),
        ("cut.png", {}, "init_image: this file is damaged or cut off"),
        ("huge.png", {}, "init_image: a picture may have at most 50 million pixels"),
        ("picture.png", {"strength": 0.1}, "leave no step to do"),
        ("picture.png", {"strength": 7}, "strength must be a number from 0"),
        ("picture.png", {"fit": "tile"}, "fit must be one of crop, fit, stretch"),
        ("picture.png", {"model": "sd15-inpaint"}, "base_id must be one of"),
    ],
)
def test_bad_input_is_refused_with_field_and_limit(
    client: Client, files: dict[str, Path], name: str, changed: dict[str, Any], sentence: str
):
    with pytest.raises(AppError, match=f"(?i){sentence.replace('init_image', '(init_image|picture)')}"):
        from_picture(client, files[name], **changed)
    assert from_picture(client, files["picture.png"])[1]["phase"] == "done"


@pytest.mark.parametrize(
    ("mask", "changed", "sentence"),
    [
        ("small.png", {}, "The mask is 64 × 64 and its picture 128 × 128"),
        ("empty.png", {}, "The mask is empty"),
        ("text.png", {}, "mask: this file cannot be read as a picture"),
        ("mask.png", {"feather": 65}, "feather must be a whole number from 0 to 64"),
    ],
)
def test_a_bad_mask_is_refused(
    client: Client, files: dict[str, Path], mask: str, changed: dict[str, Any], sentence: str
):
    with pytest.raises(AppError, match=f"(?i){sentence}"):
        repaint(client, files["picture.png"], files[mask], **changed)
