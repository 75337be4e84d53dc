"""A stranger's picture file becomes RGB pixels of a stated size, or a sentence that says why not.

Whatever was changed on the way is told as a note: nothing happens to a picture that its owner cannot read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from studio.errors import InvalidInput
from studio.types import Fit, Ground

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# A JPEG that holds several pictures (as telephones write them) shows its first one anyway.
ANIMATED_FORMATS = ("PNG", "WEBP", "GIF")
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
ORIENTATION = 0x0112
"""EXIF's tag that says how to turn the picture; 1 is upright."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH_OFFSET = 24
COLOURS: Mapping[Ground, tuple[int, int, int]] = MappingProxyType(
    {Ground.WHITE: (255, 255, 255), Ground.GREY: (128, 128, 128), Ground.BLACK: (0, 0, 0)}
)


@dataclass(frozen=True)
class Opened:
    """A picture that was opened: upright and RGB. notes: keys of assets/i18n, under `note.`, of what was changed."""

    image: Picture
    notes: tuple[str, ...] = ()


def open_picture(data: bytes, field: str = "init_image", ground: Ground = Ground.WHITE) -> Opened:
    """Read a PNG, JPEG, WebP or GIF (its first frame), turned as its EXIF says, transparent parts laid on `ground`.

    field: how a refusal calls it. Raises InvalidInput for what is too big, damaged or no picture; the size is known
    from the file's head, before any memory is taken for pixels.
    """
    if len(data) > MAX_BYTES:
        size = {"maximum_mb": MAX_BYTES // 2**20, "value_mb": -(-len(data) // 2**20)}
        raise InvalidInput("upload_too_big", field=field, **size)
    too_large = InvalidInput("upload_too_large", field=field, maximum=MAX_PIXELS // 10**6)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large from error
    except Exception as error:  # whatever a decoder trips over in a stranger's file: it is the file's fault
        raise InvalidInput("upload_no_picture", field=field, formats=", ".join(FORMATS)) from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise too_large
        try:
            return _plain(image, ground, is_deep=_is_deep(data))
        except Exception as error:
            raise InvalidInput("upload_damaged", field=field) from error


def open_mask(data: bytes, field: str = "mask") -> Picture:
    """Read a mask, L: white is drawn anew; transparent counts as black. Raises as `open_picture`."""
    return open_picture(data, field, Ground.BLACK).image.convert("L")


def fitted(image: Picture, size: tuple[int, int], fit: Fit, ground: Ground = Ground.WHITE) -> Picture:
    """The picture at `size` (width, height), by a rule. One that has this size already comes back pixel by pixel."""
    if image.size == size:
        return image.copy()
    if fit is Fit.STRETCH:
        return image.resize(size, Image.Resampling.LANCZOS)
    if fit is Fit.CROP:
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    scale = min(size[0] / image.width, size[1] / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    ground_colour = COLOURS[ground] if image.mode == "RGB" else COLOURS[ground][0]
    padded = Image.new(image.mode, size, ground_colour)
    corner = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    padded.paste(image.resize(inner, Image.Resampling.LANCZOS), corner)
    return padded


def source_picture(
    data: bytes, size: tuple[int, int], fit: Fit = Fit.CROP, ground: Ground = Ground.WHITE
) -> tuple[Picture, Opened]:
    """A file as a request takes it, RGB of `size`, and as it was opened. Raises as `open_picture`."""
    opened = open_picture(data, ground=ground)
    return fitted(opened.image, size, fit, ground), opened


def source_mask(data: bytes, source: Opened, size: tuple[int, int], fit: Fit = Fit.CROP) -> Picture:
    """A mask's file, L of `size`, made to fit as its picture was.

    Raises as `open_picture`, and InvalidInput for a mask of another size than its picture.
    """
    mask = open_mask(data)
    if mask.size != source.image.size:
        found, wanted = (f"{width} × {height}" for width, height in (mask.size, source.image.size))
        raise InvalidInput("mask_of_another_size", field="mask", value=found, wanted=wanted)
    return fitted(mask, size, fit, Ground.BLACK)


def _plain(image: Picture, ground: Ground, is_deep: bool) -> Opened:
    """An opened file's first frame as RGB, and what was done to it."""
    image.load()
    notes = []
    if image.format in ANIMATED_FORMATS and getattr(image, "is_animated", False):
        notes.append("picture_first_frame")
    if image.getexif().get(ORIENTATION, 1) not in (0, 1):
        notes.append("picture_turned")
    upright = ImageOps.exif_transpose(image)
    if is_deep:
        notes.append("picture_sixteen_bit")
    if upright.mode in ("I;16", "I;16B", "I;16L", "I"):
        upright = _eight_bit(upright)
    if upright.mode == "CMYK":
        notes.append("picture_cmyk")
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        alpha = layered.getchannel("A")
        upright = Image.new("RGB", layered.size, COLOURS[ground])
        upright.paste(layered, mask=alpha)
        if alpha.histogram()[255] < alpha.width * alpha.height:
            notes.append(f"picture_transparent_{ground}")
    return Opened(upright.convert("RGB"), tuple(notes))


def _eight_bit(image: Picture) -> Picture:
    """Grey levels 0 to 65535 as 0 to 255. Pillow itself would cut them off at 255."""
    import numpy as np

    levels = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))


def _is_deep(data: bytes) -> bool:
    """Whether a file is a PNG of 16 bits a channel."""
    return data.startswith(PNG_SIGNATURE) and data[PNG_DEPTH_OFFSET : PNG_DEPTH_OFFSET + 1] == b"\x10"
