"""Raw values from outside become a request, or a sentence that names the field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.i18n import I18nData

from studio.catalog import specs
from studio.engine.infotext import RECORDED
from studio.engine.store import Store
from studio.errors import InvalidInput
from studio.tabs.text2img import EXAMPLES, build, remember_marks, request_of
from studio.text import LANGUAGES, t
from studio.types import Scheduler
from studio.ui.services import Services
from studio.world.wish import parse
from tests.engine.histories import drawn, wish

GOOD = {
    "base_id": "little-world",
    "prompt": "a red ball",
    "negative_prompt": "",
    "seed": 1,
    "width": 128,
    "height": 128,
    "num_inference_steps": 4,
    "guidance_scale": 4,
    "scheduler": "ddim",
    "num_images": 1,
}
WRONG = (None, [], [1], {"a": 1}, math.nan, math.inf, -math.inf, "12", "", True, -1, 10**400)


def wrong_for(field: str) -> list[Any]:
    texts = ("prompt", "negative_prompt")
    return [value for value in WRONG if not (field in texts and isinstance(value, str))]


def test_good_values_make_a_request():
    request = request_of(specs(), **GOOD)
    assert (request.prompt, request.scheduler, request.width) == ("a red ball", Scheduler.DDIM, 128)


def test_a_whole_float_is_a_whole_number():
    assert request_of(specs(), **{**GOOD, "width": 64.0, "seed": 5.0}).width == 64


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in GOOD for value in wrong_for(field)])
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: Any):
    with pytest.raises(InvalidInput) as refused:
        request_of(specs(), **{**GOOD, field: value})
    assert refused.value.values["field"] == field
    for language in LANGUAGES:
        assert refused.value.message(language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("index", range(1, EXAMPLES + 1))
def test_an_example_asks_for_something_that_can_be_measured(index: int, language: str):
    wish = parse(t(f"text2img.example.{index}", language))
    assert wish.background
    assert wish.things or wish.person


@dataclass(frozen=True)
class Seen:
    """A mark of an eye."""

    holds: bool


def test_what_the_eye_found_is_remembered_beside_the_pictures(tmp_path: Path):
    store = Store(tmp_path / "history", 10**9)
    store.begin("a", "me", wish())
    store.finish("a", drawn(wish()))
    remember_marks(SimpleNamespace(store=store), "a", [[Seen(True)]])
    assert store.get("a", "me").pictures[0].marks == ({"holds": True},)
    store.close()


def test_marks_that_cannot_be_written_disturb_nobody(tmp_path: Path):
    (tmp_path / "history").write_text("a file")
    remember_marks(SimpleNamespace(store=Store(tmp_path / "history", 10**9)), "a", [[Seen(True)]])


def test_a_dropped_picture_reaches_every_field_that_it_records(page: gr.Blocks):
    studio: Any = SimpleNamespace(specs=specs(), places=SimpleNamespace(present=lambda: ()))
    with gr.Tabs() as tabs, gr.Tab("text2img") as tab:
        build(Services(studio, page, gr.BrowserState(), tabs, tab, gr.State()))
    (upload,) = [event for event in page.fns.values() if event.targets[0][1] == "upload"]
    filled = {output.label.key for output in upload.outputs if isinstance(getattr(output, "label", None), I18nData)}
    assert filled >= {f"text2img.{name}" for name in {*RECORDED, "keep_seed"} - {"task", "quant_id"}}
