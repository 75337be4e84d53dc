"""Raw values become a request with tags, or a sentence that names the field; a file goes through the gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from studio.build import Studio, build_studio
from studio.engine.lora_tags import split_tags
from studio.engine.lora_truth import truth_of
from studio.errors import InvalidInput, StudioError
from studio.settings import Settings
from studio.tabs import lora
from studio.ui.lora_shelf import _inserted, draw_shelf
from studio.ui.lora_slots import SLOTS, draw_slot, refilled, taken_tags
from studio.ui.lora_truth import truth_panel
from tests.engine.loras import TO_K, TO_Q, diffusers_file, written
from tests.tiny import make_little_world

GOOD: dict[str, Any] = {
    "base_id": "little-world",
    "prompt": "a cat",
    "negative_prompt": "",
    "seed": 1,
    "width": 64,
    "height": 64,
    "num_inference_steps": 4,
    "guidance_scale": 4,
    "scheduler": "ddim",
    "num_images": 1,
    "precision": "exact",
}
pytestmark = pytest.mark.usefixtures("page")

EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    folder = tmp_path_factory.mktemp("studio")
    make_little_world(folder / "models" / "little-world")
    settings = Settings(models_dir=folder / "models", data_dir=folder / "outputs", device="cpu", backend="torch")
    return build_studio(settings)


@pytest.fixture(scope="module")
def file(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    modules = studio.loras.base("little_world").modules
    tensors = diffusers_file({"unet": {name: modules["unet"][name] for name in (TO_Q, TO_K)}})
    told = {"trigger": EVIL, "modelspec.title": EVIL}
    return written(tmp_path_factory.mktemp("files") / "momo.safetensors", tensors, told)


def upload(file: Path) -> dict[str, str]:
    return {"path": str(file), "orig_name": file.name}


def test_places_become_tags_of_the_prompt(studio: Studio):
    finer = '{"rank": 4, "mid_block": 0, "up_blocks.1": 1}'
    first = {"name": "momo", "unet_weight": 0.8, "text_weight": 0.5, "finer": finer}
    second, third = {"name": "", "unet_weight": 9}, {"name": "rocket", "unet_weight": 1, "text_weight": 1}
    places = {f"lora{n}_{key}": v for n, own in enumerate((first, second, third), 1) for key, v in own.items()}
    request = lora.request_from(studio, lora.specs_of(studio), **places, **GOOD)
    assert request.prompt == "a cat <lora:momo:te=0.5:unet=0.8:mid_block=0:rank=4> <lora:rocket:1>"
    assert len(split_tags(request.prompt)[1]) == 2


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"lora1_unet_weight": None}, "unet_weight"),
        ({"lora1_unet_weight": float("nan")}, "unet_weight"),
        ({"lora1_text_weight": True}, "text_weight"),
        ({"lora1_unet_weight": 2.5}, "unet_weight"),
        ({"lora1_finer": '{"rank": 1000}'}, "rank"),
        ({"lora1_finer": '{"rank": 1.5}'}, "rank"),
        ({"lora1_finer": '{"mid_block": NaN}'}, "mid_block"),
        ({"lora1_finer": '{"attic": 1}'}, "finer"),
        ({"lora1_finer": "{"}, "finer"),
        ({"width": 65}, "width"),
        ({"lora1_name": "a:b:c"}, "prompt"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(studio: Studio, changed: dict[str, Any], field: str):
    values = {"lora1_name": "momo", "lora1_unet_weight": 1.0, "lora1_text_weight": 1.0, **GOOD, **changed}
    with pytest.raises(InvalidInput) as refused:
        split_tags(lora.request_from(studio, lora.specs_of(studio), **values).prompt)
    assert refused.value.values["field"] == field


def test_a_program_names_loras_and_weights(studio: Studio):
    specs = lora.specs_of(studio)
    assert lora.request_of_program(studio, specs, {"momo": 0.8}, **GOOD).prompt == "a cat <lora:momo:0.8>"
    assert lora.request_of_program(studio, specs, None, **GOOD).prompt == "a cat"
    for bad in ([1], "momo", dict.fromkeys("abcd", 1.0)):
        with pytest.raises(InvalidInput):
            lora.request_of_program(studio, specs, bad, **GOOD)


def test_an_upload_goes_through_the_gate_onto_the_shelf_and_into_the_registry(studio: Studio, file: Path):
    shelf = draw_shelf("x")
    assert shelf.taken(studio, upload(file), "little-world") == "momo"
    lora.admit(studio)
    assert "momo" in {spec.name for spec in studio.registry.specs.values()}
    broken = file.with_name("broken.safetensors")
    broken.write_bytes(file.read_bytes()[:-1])
    for bad in (upload(broken), None, {"path": 3}):
        with pytest.raises(StudioError):
            shelf.taken(studio, bad, "little-world")
    assert set(studio.loras.usable()) == {"momo"}


def test_strangers_bring_nothing(studio: Studio, file: Path):
    public = SimpleNamespace(settings=replace(studio.settings, public=True), loras=studio.loras)
    with pytest.raises(StudioError, match="open to everybody"):
        draw_shelf("x").taken(public, upload(file), "little-world")  # type: ignore[arg-type]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_truth_shows_a_strangers_words_as_text_alone(studio: Studio, file: Path, language: str):
    panel = truth_panel(truth_of(studio.loras.gate.passed(file, "momo", "little_world")), language)
    assert "<img" not in panel and "&lt;img" in panel
    assert panel.count("studio-bar") == 1 and "%" in panel and "AutoV2" in panel


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("a cat", "a cat, Momo"), ("", "Momo"), ("momo sits", "momo sits"), ("a cat,", "a cat, Momo")],
)
def test_a_trigger_word_comes_to_the_end_of_the_prompt_once(prompt: str, expected: str):
    assert _inserted(prompt, json.dumps({"words": ["Momo"], "pressed": "Momo"})) == expected


@pytest.mark.parametrize("value", [None, "", "{", "[]", '{"words": ["Momo"]}', '{"words": [], "pressed": "x"}'])
def test_what_was_not_pressed_stays_out_of_the_prompt(value: object):
    assert _inserted("a cat", value) == "a cat"


def test_the_loras_of_a_picture_come_back_into_their_places():
    slots = [draw_slot(number, "x") for number in range(1, SLOTS + 1)]
    tags = ["<lora:momo:te=0.5:unet=0.8:mid_block=0:rank=4>", "<lora:gone:1>", "<lora:rocket:1.5:text_encoder.other=0>"]
    prompt, updates = refilled(slots, ["momo", "rocket"], f"a cat {tags[0]} on a mat {tags[1]} {tags[2]}")
    assert prompt == f"a cat on a mat {tags[1]} <lora:rocket:1.5:text_encoder.other=0>"
    first, second, _ = slots
    assert [updates[widget] for widget in (first.name, first.unet, first.text)] == ["momo", 0.8, 0.5]
    assert (updates[second.name], updates[second.finer]) == ("", "")
    values = {name: updates[widget] for name, widget in first.fields.items()}
    assert list(map(str, taken_tags(values))) == tags[:1]


def test_how_long_the_loras_took_is_told(studio: Studio, file: Path):
    from studio.engine.generate import Generation
    from studio.events import Done

    draw_shelf("x").taken(studio, upload(file), "little-world")
    wish = {"lora1_name": "momo", "lora1_unet_weight": 0.5, "lora1_text_weight": 0.5, **GOOD}
    request = lora.request_from(studio, lora.specs_of(studio), **wish)
    *_, last = studio.jobs.submit(Generation(request), "me").tail()
    assert isinstance(last, Done) and np.asarray(last.result.images[0]).shape == (64, 64, 3)
    told = lora.swap_told(last.result, None, "en")
    assert "momo (0.5)" in told and "ms" in told
