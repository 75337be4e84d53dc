"""Raw values from outside become a request that is drawn from a picture, or a sentence that names the field."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from studio.catalog import specs
from studio.errors import InvalidInput
from studio.tabs import img2img, inpaint
from studio.types import Task
from studio.ui.services import Services
from studio.world.wish import parse
from tests.ui.test_source import upload

GOOD: dict[str, Any] = {
    "base_id": "little-world",
    "prompt": "a red ball",
    "negative_prompt": "",
    "seed": 1,
    "width": 64,
    "height": 64,
    "num_inference_steps": 4,
    "guidance_scale": 4,
    "scheduler": "ddim",
    "num_images": 1,
    "precision": "exact",
    "strength": 0.5,
    "fit": "crop",
    "ground": "white",
}


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return upload(tmp_path, Image.fromarray(pixels))


def whole_mask(request: Any, opened: Any) -> Image.Image:
    return Image.new("L", (request.width, request.height), 255)


def test_good_values_make_a_request_that_is_drawn_from_the_picture(source: dict[str, Any]):
    request, opened = img2img.request_from(specs(), source=source, **GOOD)
    with Image.open(source["path"]) as picture:
        assert request.init_image is not None and request.init_image.tobytes() == picture.tobytes()
    assert (request.task, request.strength, opened.notes) == (Task.IMAGE_TO_IMAGE, 0.5, ())


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"source": None}, "init_image"),
        ({"strength": None}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"strength": 1.1}, "strength"),
        ({"strength": 0.2}, "strength"),
        ({"fit": "tile"}, "fit"),
        ({"ground": None}, "ground"),
        ({"width": 100}, "width"),
        ({"base_id": "sd15-inpaint"}, "base_id"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(source: dict[str, Any], changed: dict[str, Any], field: str):
    offered = {name: spec for name, spec in specs().items() if Task.IMAGE_TO_IMAGE in spec.tasks}
    with pytest.raises(InvalidInput) as refused:
        img2img.request_from(offered, **{"source": source, **GOOD, **changed})
    assert refused.value.values["field"] == field


@pytest.mark.parametrize(("value", "field"), [(65, "feather"), (2.5, "feather"), (None, "feather")])
def test_a_wrong_feather_is_refused(source: dict[str, Any], value: Any, field: str):
    with pytest.raises(InvalidInput) as refused:
        inpaint.request_from(specs(), whole_mask, source=source, **GOOD, feather=value)
    assert refused.value.values["field"] == field


def test_inpainting_takes_an_inverted_mask(source: dict[str, Any]):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    request, _ = inpaint.request_from(specs(), lambda *_: mask, source=source, **GOOD, feather=3.0, invert=True)
    assert request.mask is not None and request.mask.getbbox() == (32, 0, 64, 64)
    assert (request.task, request.feather) == (Task.INPAINT, 3)


@pytest.mark.parametrize(("level", "invert"), [(0, False), (255, True)])
def test_a_mask_of_nothing_is_refused(source: dict[str, Any], level: int, invert: bool):
    with pytest.raises(InvalidInput) as refused:
        inpaint.request_from(
            specs(), lambda *_: Image.new("L", (64, 64), level), source=source, **GOOD, feather=0, invert=invert
        )
    assert refused.value.key == "empty_mask"


@pytest.mark.parametrize("side", [1, 64, 128, 4096])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_rendered_scene_comes_with_a_caption_that_can_be_measured(side: int, language: str):
    picture, caption = img2img.scene(side, language)
    assert picture.size == (min(512, max(32, side)),) * 2
    assert parse(caption).background


@pytest.mark.parametrize("tab", [img2img, inpaint])
def test_a_page_publishes_one_endpoint_whose_arguments_have_widgets(page: gr.Blocks, tab: Any):
    places = SimpleNamespace(present=lambda: ())
    studio: Any = SimpleNamespace(specs=specs(), specs_for=lambda task: specs(), places=places)
    with gr.Tabs() as tabs, gr.Tab(tab.NAME) as own:
        tab.build(Services(studio, page, gr.BrowserState(), tabs, own, gr.State()))
    (offered,) = [event for event in page.fns.values() if event.api_visibility == "public"]
    arguments = [name for name in inspect.signature(offered.fn).parameters if name != "request"]
    assert offered.api_name == tab.NAME
    assert len(arguments) == len(offered.inputs) == len(tab.ENDPOINT_FIELDS)
    assert all(f"{name}:" in (inspect.getdoc(offered.fn) or "") for name in arguments)
