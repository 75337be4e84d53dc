"""Pictures for the tests that bring one, and files that only look like pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 128


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them, by name."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (32, 32, 64, 64))
    made = {"picture.png": noise, "mask.png": mask, "empty.png": Image.new("L", (SIDE, SIDE))}
    made |= {"small.png": mask.resize((64, 64)), "pixel.png": Image.new("RGB", (1, 1), "red")}
    made |= {"deep.png": Image.fromarray(np.full((SIDE, SIDE), 40_000, np.uint16))}
    made |= {"cmyk.jpg": noise.convert("CMYK"), "clear.png": Image.new("RGBA", (SIDE, SIDE))}
    for name, picture in made.items():
        picture.save(folder / name)
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    whole = (folder / "picture.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("hello")
    (folder / "huge.png").write_bytes(huge(20_000))
    return {path.name: path for path in folder.iterdir()}


def huge(side: int) -> bytes:
    """A true PNG of side x side black pixels, some 50 kB for 20,000."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = bytes(1 + side // 8)
    packer = zlib.compressobj()
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)
