from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.errors import InvalidInput, StudioError
from studio.train import lessons
from studio.train.lessons import MOST_TRIGGER_CHARACTERS, told_folder, told_scenes
from studio.types import MAX_PROMPT_CHARACTERS
from studio.world.concepts import concept_scene
from studio.world.render import render_image

SIZE = 32


def test_pictures_are_cut_to_their_middle_square(tmp_path: Path):
    wide = Image.new("RGB", (3 * SIZE, SIZE), "red")
    wide.paste(Image.new("RGB", (SIZE, SIZE), "blue"), (SIZE, 0))
    wide.save(tmp_path / "wide.png")
    told = told_folder(tmp_path, "sks", SIZE)
    assert told.pictures.shape == (1, SIZE, SIZE, 3)
    assert (told.pictures == (0, 0, 255)).all()


def test_what_is_transparent_becomes_white(tmp_path: Path):
    Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (told_folder(tmp_path, "sks", SIZE).pictures == 255).all()


def test_a_photograph_is_turned_upright(tmp_path: Path):
    picture = Image.new("RGB", (2 * SIZE, 2 * SIZE), "white")
    picture.paste(Image.new("RGB", (2 * SIZE, SIZE), "black"), (0, 0))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    picture.save(tmp_path / "turned.png", exif=exif)
    (upright,) = told_folder(tmp_path, "sks", SIZE).pictures
    assert upright[: SIZE // 2 - 4].min() > 200 and upright[SIZE // 2 + 4 :].max() < 60


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        (None, "sks"),
        ("", "sks"),
        ("a cup\n on a table ", "sks, a cup on a table"),
        ("the SKS cup", "the SKS cup"),
    ],
)
def test_a_caption_holds_the_trigger(tmp_path: Path, text: str | None, caption: str):
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "a.JPG", format="jpeg")
    if text is not None:
        (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert told_folder(tmp_path, " sks ", SIZE).captions == [[caption]]


@pytest.mark.parametrize("trigger", ["", "  ", "-_-", "a\nb", "x" * (MOST_TRIGGER_CHARACTERS + 1)])
def test_a_trigger_that_is_none_is_refused(tmp_path: Path, trigger: str):
    with pytest.raises(StudioError, match=str(MOST_TRIGGER_CHARACTERS)):
        told_folder(tmp_path, trigger, SIZE)


def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(StudioError, match=tmp_path.name) as refused:
        told_folder(tmp_path, "sks", SIZE)
    assert refused.value.key == "lora_no_pictures"


def test_too_many_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lessons, "MOST_PICTURES", 1)
    for name in "ab":
        Image.new("RGB", (SIZE, SIZE)).save(tmp_path / f"{name}.png")
    with pytest.raises(StudioError, match="2"):
        told_folder(tmp_path, "sks", SIZE)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\x00"])
def test_a_broken_picture_is_refused_by_name(tmp_path: Path, content: bytes):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"broken\.png"):
        told_folder(tmp_path, "sks", SIZE)


def test_a_picture_that_is_cut_off_is_refused_by_name(tmp_path: Path):
    Image.effect_noise((200, 200), 90).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match=r"cut\.png"):
        told_folder(tmp_path, "sks", SIZE)


def test_a_picture_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lessons, "MOST_MEGAPIXELS", 0)
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "large.png")
    with pytest.raises(InvalidInput, match=r"large\.png") as refused:
        told_folder(tmp_path, "sks", SIZE)
    assert refused.value.key == "upload_too_large"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * (MAX_PROMPT_CHARACTERS + 1)])
def test_a_caption_that_is_no_text_or_too_long_is_refused(tmp_path: Path, content: bytes):
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(StudioError, match=r"a\.txt"):
        told_folder(tmp_path, "sks", SIZE)


def test_scenes_are_rendered_and_told_in_both_languages():
    scenes = [concept_scene("rocket", seed) for seed in range(5)]
    told = told_scenes(scenes, 128, 0)
    assert np.array_equal(told.pictures[3], render_image(scenes[3], 128))
    assert all("rocket" in english and "火箭" in chinese for english, chinese, *_ in told.captions)
