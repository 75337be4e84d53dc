"""The picture that is drawn from: what the page says of it, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from studio.engine.infotext import pixel_sha256
from studio.engine.pictures import MAX_BYTES
from studio.errors import InvalidInput
from studio.ui.source import Source, draw_source, prepared, uploaded

REQUEST: Any = SimpleNamespace(query_params={}, headers={})


@pytest.fixture
def source(page: gr.Blocks) -> Source:
    return draw_source("test")


def upload(folder: Path, picture: Image.Image, name: str = "picture.png") -> dict[str, Any]:
    """What a page sends of a picture's widget."""
    picture.save(folder / name)
    return {"path": str(folder / name), "url": None, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def facts(source: Source, *values: Any) -> str:
    updates = source.tell(REQUEST, *values)
    assert updates[source.alert]["visible"] is False
    return str(updates[source.facts])


def refused(source: Source, *values: Any) -> str:
    updates = source.tell(REQUEST, *values)
    assert updates[source.alert]["visible"] is True and updates[source.facts] == ""
    return str(updates[source.alert]["message"])


def test_a_picture_of_the_right_size_is_said_to_be_taken_as_it_is(source: Source, tmp_path: Path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    said = facts(source, upload(tmp_path, picture), 64, 64, "crop", "white")
    assert "64 × 64: taken pixel by pixel." in said
    assert pixel_sha256(picture)[:10] in said


@pytest.mark.parametrize(("fit", "words"), [("crop", "cropped"), ("fit", "whole inside"), ("stretch", "stretched")])
def test_the_rule_is_told_with_both_sizes(source: Source, tmp_path: Path, fit: str, words: str):
    said = facts(source, upload(tmp_path, Image.new("RGB", (300, 200))), 128, 64, fit, "white")
    assert words in said and "300 × 200" in said and "128 × 64" in said


def test_what_was_changed_on_the_way_is_told(source: Source, tmp_path: Path):
    frames = [Image.new("RGBA", (8, 8), (255, 0, 0, alpha)) for alpha in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    said = facts(source, {"path": str(tmp_path / "a.gif")}, 64, 64, "crop", "black")
    assert "its first frame is taken" in said and "Transparent parts lie on black" in said


def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(source: Source, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    assert "Picture: this file cannot be read as a picture" in refused(
        source, {"path": str(tmp_path / "broken.png")}, 64, 64, "crop", "white"
    )


def test_no_picture_says_nothing(source: Source):
    assert facts(source, None, 64, 64, "crop", "white") == ""


@pytest.mark.parametrize("value", [None, {}, {"path": None}, {"path": 7}, "text", ["a"], {"path": "/no/such/file"}])
def test_what_is_no_upload_is_a_missing_picture(value: Any):
    with pytest.raises(InvalidInput) as error:
        uploaded(value, "mask")
    assert (error.value.key, error.value.values["field"]) == ("needs_image", "mask")


def test_a_file_is_not_read_when_it_is_too_long(tmp_path: Path):
    with (tmp_path / "long").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InvalidInput) as error:
        uploaded({"path": str(tmp_path / "long")}, "init_image")
    assert error.value.key == "upload_too_big"


@pytest.mark.parametrize(
    ("fit", "ground", "field"),
    [("tile", "white", "fit"), (None, "white", "fit"), ("crop", "pink", "ground"), ("crop", ["white"], "ground")],
)
def test_an_unknown_rule_is_refused_by_its_name(fit: Any, ground: Any, field: str):
    with pytest.raises(InvalidInput) as error:
        prepared(None, (64, 64), fit, ground)
    assert error.value.values["field"] == field
