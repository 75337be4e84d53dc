"""What strangers' files say of themselves is read with distrust, and what is not taken over is named."""

from __future__ import annotations

import json
import struct
import time
import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from studio.engine.infotext import FOREIGN, MAX_BYTES, OWN, read, texts
from studio.errors import StudioError
from studio.text import LANGUAGES
from studio.types import MAX_PROMPT_CHARACTERS, GenerationRequest, Scheduler
from tests.engine.told import MODELS, REQUEST, SHA256, drawn, foreign, keys, own, png, refused_fields

A1111 = (
    "a castle\nNegative prompt: blurry\nSteps: 25, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 42, "
    "Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, Hypernet: anime, Version: v1.6.0"
)


def test_an_older_file_of_another_program_is_read():
    values = read(foreign(A1111), MODELS).values
    assert values == {
        "prompt": "a castle",
        "negative_prompt": "blurry",
        "num_inference_steps": 25,
        "guidance_scale": 6.5,
        "seed": 42,
        "width": 512,
        "height": 768,
        "scheduler": Scheduler.DPMPP_2M,
    }


def test_what_another_program_knows_and_the_studio_does_not_is_named():
    restored = read(foreign(A1111), MODELS)
    told = " ".join(problem.message() for problem in restored.problems)
    for named in ("Karras", "v1-5", "Clip skip", "Hypernet", "similar"):
        assert named in told


def test_an_unknown_sampler_is_named_in_whole():
    data = foreign(A1111.replace("DPM++ 2M Karras", "DPM++ 2M SDE Karras"))
    assert "scheduler" not in read(data, MODELS).values
    assert "DPM++ 2M SDE Karras" in " ".join(problem.message() for problem in read(data, MODELS).problems)


def test_the_studios_own_text_is_no_other_programs():
    assert keys(foreign(texts(REQUEST, SHA256)[FOREIGN])) == []


def test_a_text_without_settings_is_a_prompt():
    data = foreign("Steps: 20, Sampler: Euler")
    assert read(data, MODELS).values["prompt"] == "Steps: 20, Sampler: Euler"
    assert keys(data) == ["picture_only_prompt"]


@pytest.mark.parametrize(
    ("found", "wrong", "field"),
    [
        ("Steps: 25", "Steps: 1000", "num_inference_steps"),
        ("Steps: 25", "Steps: many", "num_inference_steps"),
        ("CFG scale: 6.5", "CFG scale: nan", "guidance_scale"),
        ("CFG scale: 6.5", "CFG scale: 1e999", "guidance_scale"),
        ("Seed: 42", "Seed: -1", "seed"),
        ("Seed: 42", f"Seed: {'9' * 5000}", "seed"),
        ("512x768", "985x768", "width"),
        ("512x768", "512x16", "height"),
        ("512x768", "large", "width"),
    ],
)
def test_a_value_out_of_its_bounds_is_named_and_the_others_are_restored(found: str, wrong: str, field: str):
    data = foreign(A1111.replace(found, wrong))
    assert field in refused_fields(data)
    assert field not in read(data, MODELS).values
    assert read(data, MODELS).values["prompt"] == "a castle"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_id", "unknown"),
        ("base_id", ["little-world"]),
        ("prompt", None),
        ("prompt", "x" * (MAX_PROMPT_CHARACTERS + 1)),
        ("seed", True),
        ("seed", 1.5),
        ("width", 100),
        ("guidance_scale", "4"),
        ("scheduler", {"a": 1}),
        ("task", "magic"),
        ("quant_id", 8),
    ],
)
def test_a_value_in_a_forged_record_is_named_and_not_restored(field: str, value: Any):
    record = json.loads(texts(REQUEST, SHA256)[OWN])
    record["request"][field] = value
    data = own(json.dumps(record))
    assert field in refused_fields(data)
    assert field not in read(data, MODELS).values


def test_a_record_with_fields_that_are_none_names_a_few_of_them():
    record = json.loads(texts(REQUEST, SHA256)[OWN])
    record["request"] |= {f"field {index}": index for index in range(1_000)}
    (problem,) = read(own(json.dumps(record)), MODELS).problems
    assert problem.key == "picture_settings_unknown"
    assert len(problem.message()) < 200


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "null", '{"version": 2, "request": {}}', '{"version": 1}', "[" * 100_000, "1" * 5_000],
)
def test_a_record_that_is_not_understood_gives_way_to_the_other_text_and_says_so(text: str):
    data = own(text, texts(REQUEST, SHA256)[FOREIGN])
    assert read(data, MODELS).values["seed"] == REQUEST.seed
    assert keys(data) == ["picture_record_unreadable"]


def exif(comment: bytes) -> bytes:
    tags = Image.Exif()
    tags.get_ifd(0x8769)[0x9286] = comment
    return tags.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + "一座城堡\nSteps: 9, Sampler: Euler, Seed: 4".encode("utf-16-be"),
        b"UNICODE\0" + "一座城堡\nSteps: 9, Sampler: Euler, Seed: 4".encode("utf-16-le"),
        b"UNICODE\0" + "一座城堡\nSteps: 9, Sampler: Euler, Seed: 4".encode("utf-16"),
        b"\0" * 8 + "一座城堡\nSteps: 9, Sampler: Euler, Seed: 4".encode(),
    ],
)
def test_the_comment_of_a_photograph_format_is_read(kind: str, comment: bytes):
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind, exif=exif(comment))
    values = read(file.getvalue(), MODELS).values
    assert (values["prompt"], values["num_inference_steps"], values["seed"]) == ("一座城堡", 9, 4)


def saved(kind: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_without_settings_is_refused(kind: str):
    with pytest.raises(StudioError) as refused:
        read(saved(kind), MODELS)
    assert refused.value.key == "picture_without_settings"


def bomb() -> bytes:
    """A PNG whose text unpacks to 2 MB, twice what Pillow allows."""
    text = b"studio\0\0" + zlib.compress(b"x" * 2**21)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    data = png()
    return data[:33] + chunk + data[33:]


def huge() -> bytes:
    """A PNG that claims 30,000 pixels a side."""
    data = bytearray(png())
    data[16:24] = struct.pack(">II", 30_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"", "not_a_picture"),
        (b"hello", "not_a_picture"),
        (saved("GIF"), "not_a_picture"),
        (saved("BMP"), "not_a_picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_a_picture"),
        (drawn(REQUEST)[:60], "not_a_picture"),
        (bomb(), "not_a_picture"),
        (huge(), "not_a_picture"),
        (bytes(MAX_BYTES + 1), "picture_too_big"),
        (foreign("x" * (2**20 + 1)), "picture_text_too_long"),
    ],
    ids=["empty", "text", "gif", "bmp", "svg", "cut off", "bomb", "huge", "too big", "long text"],
)
def test_what_cannot_be_read_is_told_in_both_languages(data: bytes, key: str):
    with pytest.raises(StudioError) as refused:
        read(data, MODELS)
    assert refused.value.key == key
    assert len({refused.value.message(language) for language in LANGUAGES}) == len(LANGUAGES)


@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data: st.DataObject):
    file = bytearray(drawn(REQUEST))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        restored = read(bytes(file[: data.draw(st.integers(0, len(file)))]), MODELS)
    except StudioError as error:
        assert error.message()
    else:
        assert GenerationRequest(**{"base_id": "", "prompt": "", "seed": 0, **restored.values})


def test_a_hostile_megabyte_inside_a_picture_is_read_within_a_second():
    data = foreign(('ab: "\\",' * 2**20)[: 2**20])
    started = time.process_time()
    read(data, MODELS)
    assert time.process_time() - started < 1.0
