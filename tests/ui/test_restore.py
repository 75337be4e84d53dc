"""A dropped picture fills the fields of the page, and what it could not fill is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.catalog import specs
from studio.engine.images import png_bytes
from studio.engine.infotext import write
from studio.types import GenerationRequest, Scheduler
from studio.ui.restore import Restore, draw_restore
from studio.ui.widgets import sampling

REQUEST = GenerationRequest(
    base_id="little-world",
    prompt="一个红球",
    negative_prompt="blurry",
    seed=7,
    width=128,
    height=64,
    num_inference_steps=9,
    guidance_scale=4.5,
    scheduler=Scheduler.EULER,
)
FOREIGN = "a castle\nSteps: 25, Sampler: Euler a, CFG scale: 6.5, Seed: 42, Size: 512x768, Model: v1-5, Clip skip: 2"


@pytest.fixture
def place(page: gr.Blocks) -> Restore:
    knobs = sampling(specs()["little-world"])
    names = ("prompt", "negative_prompt", "base_id", "seed", "keep_seed")
    return draw_restore({**{name: gr.Textbox() for name in names}, **vars(knobs)}, knobs, specs())


def asking(language: str = "en") -> gr.Request:
    return gr.Request(query_params={}, headers={"accept-language": language})


def file(chunks: PngInfo) -> bytes:
    return png_bytes(Image.new("RGB", (8, 8)), chunks)


def own(request: GenerationRequest = REQUEST) -> bytes:
    return file(write(request, "0" * 64))


def foreign(text: str) -> bytes:
    chunks = PngInfo()
    chunks.add_text("parameters", text)
    return file(chunks)


def drop(place: Restore, data: bytes, base_id: str = "little-world", language: str = "en") -> dict[Any, Any]:
    return place.restore(asking(language), data, base_id)


def filled(place: Restore, updates: dict[Any, Any]) -> dict[str, Any]:
    """The new values of the fields, by name."""
    values = {name: updates[widget] for name, widget in place.fields.items() if widget in updates}
    return {name: value["value"] if isinstance(value, dict) else value for name, value in values.items()}


def test_the_studios_own_picture_fills_every_field(place: Restore):
    updates = drop(place, own())
    names = place.fields.keys() - {"num_images", "keep_seed"}
    assert filled(place, updates) == {name: getattr(REQUEST, name) for name in names} | {"keep_seed": True}
    assert updates[place.alert] == gr.update(visible=True, type="success", message="All settings are restored.")


def test_the_place_is_free_for_the_next_picture(place: Restore):
    assert drop(place, own())[place.file] is None
    assert drop(place, b"broken")[place.file] is None


@pytest.mark.parametrize("data", [b"broken", file(PngInfo())])
def test_a_file_that_tells_nothing_changes_nothing_and_says_why(place: Restore, data: bytes):
    updates = drop(place, data)
    assert filled(place, updates) == {}
    assert updates[place.alert]["type"] == "error"


def test_what_another_program_wrote_fills_what_the_page_offers_and_names_the_rest(place: Restore):
    updates = drop(place, foreign(FOREIGN))
    assert filled(place, updates) == {
        "prompt": "a castle",
        "negative_prompt": "",
        "num_inference_steps": 25,
        "guidance_scale": 6.5,
        "seed": 42,
        "keep_seed": True,
    }
    assert updates[place.alert]["type"] == "warning"
    for named in ("Restored: Prompt,", "Sampler", "Euler a", "Model", "v1-5", "Width", "512", "Height", "Clip skip"):
        assert named in updates[place.alert]["message"]


def test_a_prompt_alone_keeps_the_seed_as_it_is(place: Restore):
    assert filled(place, drop(place, foreign("just a prompt"))) == {"prompt": "just a prompt", "negative_prompt": ""}


def test_another_model_comes_with_its_own_bounds(place: Restore):
    updates = drop(place, own(replace(REQUEST, base_id="sd15", width=768, height=512)))
    assert updates[place.knobs.width] == gr.update(value=768, maximum=1024)
    assert filled(place, updates)["num_inference_steps"] == REQUEST.num_inference_steps


def test_a_picture_larger_than_its_model_draws_names_the_limit(place: Restore):
    updates = drop(place, own(replace(REQUEST, width=512)))
    assert "width" not in filled(place, updates)
    assert "Width must be a whole number from 32 to 256" in updates[place.alert]["message"]


def test_a_method_that_the_page_does_not_offer_is_named(place: Restore):
    assert "int8" in drop(place, own(replace(REQUEST, quant_id="int8")))[place.alert]["message"]


def test_it_speaks_the_persons_language(place: Restore):
    assert drop(place, own(), language="zh")[place.alert]["message"] == "已恢复全部参数。"
    assert "采样器" in drop(place, foreign(FOREIGN), language="zh")[place.alert]["message"]


@pytest.mark.parametrize("base_id", [None, ["little-world"], "unknown"])
def test_a_model_that_the_page_does_not_offer_stands_for_the_first(place: Restore, base_id: Any):
    assert filled(place, drop(place, own(), base_id))["base_id"] == "little-world"
