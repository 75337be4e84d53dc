"""A picture says how to draw it again: to the studio exactly, and to other programs in their words."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from io import BytesIO
from typing import Any

import pytest
from gradio.processing_utils import encode_pil_to_bytes
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from studio.engine.infotext import (
    FOREIGN,
    PICTURES,
    RECORDED,
    RECORDED_FROM_PICTURE,
    VERSION,
    labelled,
    read,
    texts,
)
from studio.errors import InvalidInput
from studio.events import GenerationResult, Timings
from studio.settings import ROOT
from studio.types import (
    MAX_GUIDANCE,
    MAX_IMAGES,
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    MIN_SIDE,
    SIDE_STEP,
    GenerationRequest,
    Scheduler,
    Task,
)
from tests.engine.told import MODELS, REQUEST, SHA256, drawn, foreign, keys

SIDES = st.integers(MIN_SIDE // SIDE_STEP, MAX_SIDE // SIDE_STEP).map(lambda count: count * SIDE_STEP)
PROMPTS = st.text(max_size=MAX_PROMPT_CHARACTERS)
REQUESTS = st.builds(
    GenerationRequest,
    base_id=st.sampled_from(MODELS),
    prompt=PROMPTS,
    negative_prompt=PROMPTS,
    seed=st.integers(0, MAX_SEED),
    width=SIDES,
    height=SIDES,
    num_inference_steps=st.integers(1, MAX_STEPS),
    guidance_scale=st.floats(0, MAX_GUIDANCE) | st.integers(0, int(MAX_GUIDANCE)),
    scheduler=st.sampled_from(Scheduler),
)


def info(data: bytes) -> dict[Any, Any]:
    with Image.open(BytesIO(data)) as image:
        return image.info


@given(REQUESTS)
def test_a_request_comes_back_as_it_was(request: GenerationRequest):
    restored = read(drawn(request), MODELS)
    assert restored.problems == ()
    assert GenerationRequest(**restored.values) == request
    assert restored.model_sha256 == SHA256


@given(REQUESTS)
def test_the_text_for_other_programs_holds_the_same_numbers(request: GenerationRequest):
    values = read(foreign(texts(request, SHA256)[FOREIGN]), MODELS).values
    exact = ("seed", "width", "height", "num_inference_steps", "guidance_scale", "scheduler", "base_id")
    assert {name: values[name] for name in exact} == {name: getattr(request, name) for name in exact}


def test_chinese_comes_back_from_both_texts():
    request = replace(REQUEST, prompt="沙滩上的红伞，水彩\n第二行", negative_prompt="模糊")
    found = info(drawn(request))
    assert "沙滩上的红伞" in found[FOREIGN]
    for data in (drawn(request), foreign(found[FOREIGN])):
        values = read(data, MODELS).values
        assert (values["prompt"], values["negative_prompt"]) == (request.prompt, request.negative_prompt)


def test_the_text_for_other_programs_reads_as_theirs():
    assert info(drawn(REQUEST))[FOREIGN] == (
        "a red ball\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: 4, Seed: 7, Size: 128x64, "
        f"Model hash: 0123456789, Model: little-world, RNG: CPU, Version: {VERSION}"
    )


def test_a_picture_from_a_picture_tells_its_strength_and_that_the_other_is_missing():
    request = replace(REQUEST, task=Task.IMAGE_TO_IMAGE, init_image=Image.new("RGB", (8, 8)), strength=0.5)
    assert "Denoising strength: 0.5, RNG: CPU" in texts(request, SHA256)[FOREIGN]
    for data in (drawn(request), foreign(texts(request, SHA256)[FOREIGN])):
        assert read(data, MODELS).values["strength"] == 0.5
        assert keys(data) == ["picture_from_picture"]


def test_another_init_image_is_another_record():
    requests = [
        replace(REQUEST, task=Task.IMAGE_TO_IMAGE, init_image=Image.new("RGB", (8, 8), colour))
        for colour in ("red", "blue")
    ]
    assert drawn(requests[0]) != drawn(requests[1])


def test_equal_requests_give_equal_bytes():
    other = replace(REQUEST, guidance_scale=4.0)
    assert other == REQUEST
    assert drawn(other) == drawn(REQUEST)


def test_every_field_of_a_request_is_recorded_or_known_not_to_be():
    elsewhere = {*PICTURES, *RECORDED_FROM_PICTURE[Task.INPAINT], "num_images", "controls"}
    assert set(RECORDED) | elsewhere == {field.name for field in fields(GenerationRequest)}


def test_each_picture_of_several_says_its_own_seed():
    request = replace(REQUEST, num_images=MAX_IMAGES, seed=MAX_SEED - MAX_IMAGES + 1)
    seeds = [read(drawn(request, index), MODELS).values["seed"] for index in range(MAX_IMAGES)]
    assert seeds == list(range(request.seed, MAX_SEED + 1))


def test_a_seed_that_the_last_picture_could_not_count_up_from_is_refused():
    with pytest.raises(InvalidInput, match=rf"seed must be a whole number from 0 to {MAX_SEED - 1};"):
        replace(REQUEST, num_images=2, seed=MAX_SEED)


def test_a_labelled_picture_keeps_its_text_where_gradio_writes_it():
    result = GenerationResult((Image.new("RGB", (8, 8)),) * 2, replace(REQUEST, num_images=2), Timings(), 0, SHA256)
    second = read(encode_pil_to_bytes(labelled(result)[1], "png"), MODELS)
    assert second.values["seed"] == REQUEST.seed + 1
    assert result.images[0].info == {}


def test_a_prompt_that_no_chunk_can_hold_is_written_all_the_same():
    request = replace(REQUEST, prompt="a NUL \0 and a lone \x1b sign")
    assert read(drawn(request), MODELS).values["prompt"] == request.prompt


def test_the_version_is_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert VERSION.split()[-1] == project["version"]
