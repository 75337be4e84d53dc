"""Frames as a file to keep: a GIF, which everything shows, and an MP4, where a codec that browsers play is at hand."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

FRAME_SECONDS, LAST_SECONDS = 0.12, 1.5
"""How long a frame stands, and the last one."""
CODECS = ("vp09", "avc1")
"""VP9, which OpenCV's own build writes and every browser of today plays, and H.264 where a system's build has it. Never
"mp4v": MPEG-4 part 2 is written everywhere, and no browser plays it."""
DOUBLED = 2
"""How many pixels of the film, either way, a pixel becomes: codecs keep colour at half the resolution, which leaves
nothing of the colours of noise (it is off by 54 levels of 255 on average; doubled by 7)."""
FARTHEST = 12.0
"""In levels of 255: how far a film's frame, read again, may be from what was written, on average over its values."""


def gif(frames: Sequence[Picture]) -> bytes:
    """A GIF that goes on for ever."""
    buffer = BytesIO()
    shown = [frame.quantize(128, Image.Quantize.FASTOCTREE) for frame in frames]
    seconds = [FRAME_SECONDS] * (len(shown) - 1) + [LAST_SECONDS]
    milliseconds = [round(1000 * each) for each in seconds]
    shown[0].save(buffer, "GIF", save_all=True, append_images=shown[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()


def mp4(frames: Sequence[Picture], codecs: Sequence[str] = CODECS) -> bytes | None:
    """An MP4 by the first codec whose film, read again, holds the frames; None where no codec does. All of one size."""
    standing = round(LAST_SECONDS / FRAME_SECONDS) - 1
    doubled = [_doubled(frame) for frame in frames]
    pixels = [*doubled, *[doubled[-1]] * standing]
    with tempfile.TemporaryDirectory() as folder:
        for codec in codecs:
            path = Path(folder) / f"{codec}.mp4"
            if _written(path, codec, pixels) and _holds(path, pixels):
                return path.read_bytes()
    return None


def _doubled(frame: Picture) -> NDArray[np.uint8]:
    """(DOUBLED H, DOUBLED W, 3)"""
    levels = np.asarray(frame.convert("RGB"))
    return levels.repeat(DOUBLED, axis=0).repeat(DOUBLED, axis=1)


def _written(path: Path, codec: str, pixels: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether there is such a codec; it has then written them. pixels: (H, W, 3) RGB uint8 each."""
    import cv2

    height, width = pixels[0].shape[:2]
    four = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), four, 1 / FRAME_SECONDS, (width, height))
    try:
        if not writer.isOpened():
            return False
        for each in pixels:
            writer.write(np.ascontiguousarray(each[..., ::-1]))
    finally:
        writer.release()
    return path.is_file()


def _holds(path: Path, pixels: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether a film reads back as these frames, all of them, in their order, and no more."""
    import cv2

    reader = cv2.VideoCapture(str(path))
    try:
        for each in pixels:
            found, frame = reader.read()
            if not found or frame.shape != each.shape:
                return False
            if np.abs(frame[..., ::-1].astype(float) - each).mean() > FARTHEST:
                return False
        return not reader.read()[0]
    finally:
        reader.release()
