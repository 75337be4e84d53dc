"""A picture as the bytes of a file, and as a fingerprint."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

THUMBNAIL_SIDE = 256
THUMBNAIL_QUALITY = 82


def png_bytes(image: Image, pnginfo: PngInfo) -> bytes:
    """The picture as a PNG; equal pictures give equal bytes. pnginfo: text that travels with it."""
    file = BytesIO()
    image.save(file, format="PNG", pnginfo=pnginfo)
    return file.getvalue()


def thumbnail_bytes(image: Image, side: int = THUMBNAIL_SIDE) -> bytes:
    """The picture as a WebP of at most `side` pixels a side."""
    small = image.copy()
    small.thumbnail((side, side))
    file = BytesIO()
    small.save(file, format="WEBP", quality=THUMBNAIL_QUALITY)
    return file.getvalue()


def pixel_sha256(picture: Image) -> str:
    """A hash of a picture's mode, size and pixels: the same whatever file they came from."""
    head = f"{picture.mode} {picture.width}x{picture.height}\n"
    return hashlib.sha256(head.encode() + picture.tobytes()).hexdigest()
