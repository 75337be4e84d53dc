"""Strangers' files become upright RGB pixels of a stated size, or are refused by name."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from studio.engine.pictures import MAX_BYTES, fitted, open_mask, open_picture, source_mask, source_picture
from studio.errors import InvalidInput
from studio.text import LANGUAGES, t
from studio.types import Fit, Ground

ORIENTATION = 0x0112


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def quarters(width: int = 8, height: int = 4) -> Image.Image:
    """Red and green above blue and white: every turn of it looks different."""
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    pixels[:top, :left], pixels[:top, left:] = (255, 0, 0), (0, 255, 0)
    pixels[top:, :left], pixels[top:, left:] = (0, 0, 255), (255, 255, 255)
    return Image.fromarray(pixels)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(side: int) -> bytes:
    """A small PNG that says it is huge."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def refusal(data: bytes, **options: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        open_picture(data, **options)
    return refused.value


def test_a_plain_picture_comes_back_pixel_by_pixel_without_a_note():
    opened = open_picture(file(quarters()))
    assert (opened.image.mode, opened.notes) == ("RGB", ())
    assert opened.image.tobytes() == quarters().tobytes()


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_as_its_exif_says(orientation: int, kind: str):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    large = quarters(64, 32)
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    opened = open_picture(file(large, kind, exif=exif, **options))
    large.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(large), dtype=int)
    assert opened.notes == ("picture_turned",)
    assert np.abs(np.asarray(opened.image, dtype=int) - expected).mean() < 4
    assert opened.image.size == expected.shape[1::-1]


@pytest.mark.parametrize(("ground", "level"), [(Ground.WHITE, 255), (Ground.GREY, 128), (Ground.BLACK, 0)])
def test_transparent_parts_lie_on_the_stated_colour(ground: Ground, level: int):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = (200, 100, 50, 255)
    opened = open_picture(file(Image.fromarray(pixels)), ground=ground)
    assert opened.image.getpixel((0, 0)) == (200, 100, 50)
    assert opened.image.getpixel((0, 1)) == (level, level, level)
    assert opened.notes == (f"picture_transparent_{ground}",)


def test_half_transparent_is_half_of_each():
    opened = open_picture(file(Image.new("RGBA", (1, 1), (255, 0, 0, 128))))
    assert opened.image.getpixel((0, 0)) == pytest.approx((255, 127, 127), abs=1)


def test_an_alpha_channel_that_hides_nothing_is_not_worth_a_note():
    assert open_picture(file(Image.new("RGBA", (2, 2), (9, 9, 9, 255)))).notes == ()


def test_a_palette_with_a_transparent_colour_lies_on_the_ground_too():
    picture = Image.new("P", (1, 1), 0)
    picture.putpalette([10, 20, 30] + [0] * 765)
    assert open_picture(file(picture, transparency=0)).image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken_and_told(kind: str):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    opened = open_picture(file(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert opened.image.getpixel((8, 8)) == pytest.approx((255, 0, 0), abs=6)
    assert "picture_first_frame" in opened.notes


def test_cmyk_becomes_rgb_and_is_told():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    opened = open_picture(file(cyan, "JPEG", quality=100))
    assert opened.image.getpixel((8, 8)) == pytest.approx((0, 255, 255), abs=4)
    assert opened.notes == ("picture_cmyk",)


def test_sixteen_bits_keep_their_brightness():
    levels = np.array([[0, 257 * 100, 65535]], np.uint16)
    opened = open_picture(file(Image.fromarray(levels)))
    assert [opened.image.getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (100,) * 3, (255,) * 3]
    assert opened.notes == ("picture_sixteen_bit",)


def test_sixteen_bits_a_colour_are_told_too():
    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(">HHH", 65535, 257 * 100, 0))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    opened = open_picture(data)
    assert (opened.image.getpixel((0, 0)), opened.notes) == ((255, 100, 0), ("picture_sixteen_bit",))


@pytest.mark.parametrize("fit", Fit)
def test_one_pixel_fills_what_it_is_fitted_to(fit: Fit):
    picture, _ = source_picture(file(Image.new("RGB", (1, 1), (1, 2, 3))), (64, 64), fit)
    assert picture.getcolors() == [(64 * 64, (1, 2, 3))]


@pytest.mark.parametrize("side", [8_000, 12_000, 20_000, 40_000])
def test_too_many_pixels_are_refused_by_their_number_without_reading_them(side: int):
    error = refusal(bomb(side))
    assert (error.key, error.values) == ("upload_too_large", {"field": "init_image", "maximum": 50})


def test_a_file_that_is_too_long_is_refused():
    assert refusal(bytes(MAX_BYTES + 1)).values["value_mb"] == 21


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_file_that_was_cut_off_is_refused(kind: str):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    whole = file(noise, kind)
    assert refusal(whole[: len(whole) // 2]).key in ("upload_damaged", "upload_no_picture")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", file(quarters(), "BMP")])
def test_what_is_no_picture_is_refused_by_the_name_of_its_field(data: bytes):
    error = refusal(data, field="mask")
    assert (error.key, error.values["field"]) == ("upload_no_picture", "mask")


def test_cropping_keeps_the_middle_and_the_proportions():
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))
    middle = fitted(wide, (64, 64), Fit.CROP).crop((4, 0, 60, 64))
    assert middle.getcolors() == [(56 * 64, (0, 0, 255))]


@pytest.mark.parametrize(("size", "bar"), [((64, 64), (32, 2)), ((96, 32), (2, 16))])
def test_fitting_keeps_all_of_it_and_fills_the_rest_with_the_ground(size: tuple[int, int], bar: tuple[int, int]):
    picture = fitted(Image.new("RGB", (200, 100), "red"), size, Fit.FIT, Ground.GREY)
    assert picture.size == size
    assert picture.getpixel((size[0] // 2, size[1] // 2)) == (255, 0, 0)
    assert picture.getpixel(bar) == (128, 128, 128)
    share = sum(count for count, colour in picture.getcolors() or () if colour == (255, 0, 0)) / (size[0] * size[1])
    assert share == pytest.approx(0.5 if size == (64, 64) else 2 / 3, abs=0.02)


def test_stretching_fills_the_size_with_all_of_it():
    stretched = fitted(quarters(80, 40), (64, 64), Fit.STRETCH)
    assert [stretched.getpixel(place) for place in ((8, 8), (56, 8), (8, 56), (56, 56))] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
    ]


@pytest.mark.parametrize("fit", Fit)
def test_a_picture_of_the_right_size_is_not_touched(fit: Fit):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert fitted(noise, (64, 64), fit).tobytes() == noise.tobytes()


@pytest.mark.parametrize("fit", Fit)
def test_a_sliver_is_fitted_without_an_error(fit: Fit):
    assert fitted(Image.new("RGB", (5000, 1)), (64, 64), fit).size == (64, 64)


def test_strokes_on_a_transparent_layer_are_the_white_of_a_mask():
    layer = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    layer.putpixel((1, 0), (255, 255, 255, 255))
    assert list(open_mask(file(layer)).tobytes()) == [0, 255]


def test_a_mask_of_another_size_than_its_picture_is_refused_with_both_sizes():
    opened = open_picture(file(quarters(8, 4)))
    with pytest.raises(InvalidInput) as refused:
        source_mask(file(Image.new("L", (4, 8))), opened, (64, 64))
    assert refused.value.values == {"field": "mask", "value": "4 × 8", "wanted": "8 × 4"}


@pytest.mark.parametrize("fit", Fit)
def test_a_mask_lies_where_its_picture_lies(fit: Fit):
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[40:60, 80:120] = 255
    data = file(Image.fromarray(pixels))
    picture, opened = source_picture(data, (64, 64), fit, Ground.BLACK)
    assert source_mask(data, opened, (64, 64), fit).tobytes() == picture.getchannel("R").tobytes()


def test_every_note_has_a_sentence_in_both_languages():
    notes = ["first_frame", "turned", "sixteen_bit", "cmyk", *(f"transparent_{ground}" for ground in Ground)]
    assert all(t(f"note.picture_{note}", language) for note in notes for language in LANGUAGES)
