"""Raw values become a request with references, or a sentence that names the field."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from studio.catalog import FAMILIES, specs
from studio.controls import CONTROLS
from studio.errors import InvalidInput
from studio.perception.referring import Judged, Reference
from studio.tabs import ip_adapter, judging
from studio.ui.services import Services
from tests.ui.test_source import upload
from tests.ui.works import result

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
    "precision": "exact",
    "scale": 0.8,
    "start": 0.25,
    "end": 1,
    "where": "style",
}
STUDIO: Any = SimpleNamespace(
    catalog=FAMILIES,
    controls=CONTROLS,
    specs=specs(),
    specs_for=lambda task: specs(),
    places=SimpleNamespace(present=lambda: ()),
    eye=None,
    jobs=None,
)


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, Any]]:
    return [upload(tmp_path, Image.new("RGB", (9, 7), colour), f"{colour}.png") for colour in ("red", "blue")]


def test_good_values_make_a_request_with_its_references(files: list[dict[str, Any]]):
    drawn = {"reference_1": files[0], "reference_2": files[1], "weight_1": 1.0, "weight_2": 0.5}
    request = ip_adapter.request_from(STUDIO, specs(), **drawn, division="left_right", painted=None, **GOOD)
    (use,) = request.controls
    assert (use.control_id, use.model_id) == ("ip_adapter", "little-world-ip-adapter")
    assert (use.scale, use.start, use.end, len(use.images)) == (0.8, 0.25, 1, 4)
    assert use.options == {"where": "style", "masked": True, "weight_1": 1.0, "weight_2": 0.5}
    (control,) = [one for one in CONTROLS if one.id == use.control_id]
    assert control.prepare(use, request).options == use.options


def test_the_choices_of_the_page_are_those_of_the_control():
    (control,) = [one for one in CONTROLS if one.id == ip_adapter.CONTROL_ID]
    assert control.params[0].choices == ip_adapter.PLACES


def test_a_program_gives_files_weights_and_a_mask(files: list[dict[str, Any]], tmp_path: Path):
    mask = upload(tmp_path, Image.new("L", (64, 64), 255), "mask.png")
    request = ip_adapter.request_of_program(STUDIO, specs(), files, [1, 0.25], mask, **GOOD)
    (use,) = request.controls
    assert [one.size for one in use.images] == [(9, 7), (9, 7), (64, 64), (64, 64)]
    assert use.options["weight_2"] == 0.25
    alone = ip_adapter.request_of_program(STUDIO, specs(), files[0], None, None, **GOOD)
    assert (len(alone.controls[0].images), alone.controls[0].options["masked"]) == (1, False)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"references": []}, "reference_1"),
        ({"references": None}, "reference_1"),
        ({"weights": [1]}, "weights"),
        ({"scale": 2.5}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"start": 1}, "end"),
        ({"width": 100}, "width"),
        ({"base_id": "sdxl"}, "base_id"),
        ({"mask": {"path": "/nowhere"}}, "mask"),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(files: list[dict[str, Any]], changes: dict[str, Any], field: str):
    given: dict[str, Any] = {"references": files, "weights": None, "mask": None, **GOOD, **changes}
    with pytest.raises(InvalidInput) as refused:
        ip_adapter.request_of_program(STUDIO, ip_adapter.specs_of(STUDIO), **given)
    assert refused.value.values["field"] == field


def test_too_many_files_are_refused(files: list[dict[str, Any]]):
    with pytest.raises(InvalidInput, match="1 to 4"):
        ip_adapter.request_of_program(STUDIO, specs(), files * 3, None, None, **GOOD)


def test_the_shelf_has_one_scene_in_every_style():
    pictures = ip_adapter.shelf()
    assert len({picture.tobytes() for picture in pictures}) == 6


def test_only_models_that_an_ip_adapter_fits_are_offered():
    assert {spec.family for spec in ip_adapter.specs_of(STUDIO).values()} == {"little_world", "sd15"}


@pytest.mark.parametrize(("leaked", "signs"), [((), (3, 0)), (("car",), (1, 2))])
def test_the_verdict_says_by_sign_what_was_taken_over(leaked: tuple[str, ...], signs: tuple[int, int]):
    reference = Reference("a cat", "neon", ("car",))
    judged = Judged(0.93, True, held=1 if not leaked else 0, asked=1, leaked=leaked, could_leak=1)
    for language in ("en", "zh"):
        html = judging.verdict_of(reference, judged, language)
        assert (html.count("✓"), html.count("✗")) == signs
        assert "93%" in html


def test_without_an_eye_nothing_is_judged():
    request = result().request
    assert judging.measure_of(None, request)(Image.new("RGB", (8, 8))) == {}
    assert "eye" in judging.verdict(STUDIO, result(), None, "en")


def test_the_page_publishes_one_endpoint_whose_arguments_have_widgets(page: gr.Blocks):
    with gr.Tabs() as tabs, gr.Tab("ip_adapter") as own:
        ip_adapter.build(Services(STUDIO, page, gr.BrowserState(), tabs, own, gr.State()))
    (offered,) = [event for event in page.fns.values() if event.api_visibility == "public"]
    arguments = [name for name in inspect.signature(offered.fn).parameters if name != "request"]
    assert offered.api_name == "ip_adapter"
    assert len(arguments) == len(offered.inputs) == len(ip_adapter.ENDPOINT_FIELDS)
    assert all(f"{name}:" in (inspect.getdoc(offered.fn) or "") for name in arguments)
