"""Films of noise: all frames, in their order, also after a codec has been at them; and never a broken file."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studio.engine import films
from studio.engine.films import FRAME_SECONDS, LAST_SECONDS, gif, mp4

STANDING = round(LAST_SECONDS / FRAME_SECONDS)


@pytest.fixture(scope="module")
def frames() -> list[Image.Image]:
    """From a grey square to noise in colour, which codecs are worst at."""
    noise = np.random.default_rng(0).normal(0, 60, (64, 64, 3))
    levels = [np.clip(128 + share * noise, 0, 255).astype(np.uint8) for share in (0.0, 0.3, 0.6, 1.0)]
    return [Image.fromarray(each) for each in levels]


def test_a_gif_has_every_frame_and_goes_on_for_ever(frames: list[Image.Image]):
    with Image.open(BytesIO(gif(frames))) as film:
        assert (film.format, film.n_frames, film.size, film.info["loop"]) == ("GIF", 4, (64, 64), 0)


def test_an_mp4_has_every_frame_and_its_colours(frames: list[Image.Image], tmp_path: Path):
    import cv2

    data = mp4(frames)
    assert data is not None and data[4:8] == b"ftyp"
    (tmp_path / "film.mp4").write_bytes(data)
    reader = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    read = [frame[::2, ::2, ::-1].astype(float) for found, frame in iter(reader.read, (False, None)) if found]
    assert len(read) == len(frames) - 1 + STANDING
    for wanted, found in zip([*frames, frames[-1]], read, strict=False):
        assert np.abs(found - np.asarray(wanted)).mean() < films.FARTHEST


def test_a_codec_that_is_not_there_leaves_no_file(frames: list[Image.Image]):
    assert mp4(frames, ("none",)) is None
    assert mp4(frames, ("none", "vp09"))


def test_what_does_not_read_back_is_not_kept(frames: list[Image.Image], monkeypatch: pytest.MonkeyPatch):
    written = films._written

    def too_few(path: Path, codec: str, pixels: Sequence[Any]) -> bool:
        return written(path, codec, pixels[:-1])

    def of_other_frames(path: Path, codec: str, pixels: Sequence[Any]) -> bool:
        return written(path, codec, [255 - each for each in pixels[::-1]])

    def cut(path: Path, codec: str, pixels: Sequence[Any]) -> bool:
        done = written(path, codec, pixels)
        if done:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return done

    for broken in (too_few, of_other_frames, cut):
        monkeypatch.setattr(films, "_written", broken)
        assert mp4(frames) is None
