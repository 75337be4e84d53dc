"""The page of quantized models: what its raw values become, and what is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.build import Studio, build_studio
from studio.engine.comparison_subjects import PixelSubject, TextSubject
from studio.errors import InvalidInput, ModelUnavailable
from studio.events import Row, Stopped
from studio.settings import Settings
from studio.tabs.quant_compare import PIXELS, USUAL_ROWS, Subjects, _game, chosen, comparison, show
from tests.tiny import make_little_world


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    root = tmp_path_factory.mktemp("quant")
    make_little_world(root / "models" / "little-world")
    studio = build_studio(Settings(models_dir=root / "models", data_dir=root / "outputs", device="cpu"))
    yield studio
    studio.jobs.close()


def asked(studio: Studio, rows: object = USUAL_ROWS, **changes: Any):
    values = {"model": "little-world", "prompt": "a house", "kind": "cat", "steps": 4, "seed": 1} | changes
    return comparison(studio, Subjects(studio), list(rows) if isinstance(rows, tuple) else rows, **values)


def test_a_prompt_becomes_a_comparison_with_the_models_own_settings(studio: Studio):
    work = asked(studio)
    assert isinstance(work.subject, TextSubject)
    request, own = work.subject.request, studio.specs["little-world"].defaults
    assert (request.prompt, request.seed, request.num_inference_steps) == ("a house", 1, 4)
    assert (request.width, request.guidance_scale, request.scheduler) == (own.width, own.guidance_scale, own.scheduler)
    assert work.quant_ids == USUAL_ROWS


def test_which_text_to_image_model_is_chosen_beside_that_it_is_one(studio: Studio):
    subject = asked(studio, base_id="sd15").subject
    assert isinstance(subject, TextSubject) and subject.name == "sd15"


def test_a_thing_becomes_a_walk_of_the_model_on_pixels(studio: Studio):
    subject = asked(studio, model=PIXELS, kind="tree").subject
    assert isinstance(subject, PixelSubject)
    assert (subject.walk.kind, subject.walk.sampler, subject.walk.steps) == ("tree", "ddim", 4)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": "sd99"}, "model"),
        ({"base_id": "sd99"}, "model"),
        ({"steps": 0}, "num_inference_steps"),
        ({"steps": 10**9}, "num_inference_steps"),
        ({"seed": -1}, "seed"),
        ({"prompt": None}, "prompt"),
        ({"model": PIXELS, "steps": 0}, "steps"),
        ({"rows": ["fp32"]}, "rows"),
        ({"rows": None}, "rows"),
        ({"rows": ["fp32", "mse-w9a8"]}, "weight_bits"),
        ({"rows": ["fp32", "mse-w8a1"]}, "activation_bits"),
        ({"rows": ["fp32", "<b>"]}, "rows"),
        ({"rows": ["fp32", "gguf"]}, "rows"),
        ({"rows": ["mse", "mse-w8a8"]}, "rows"),
        ({"rows": [f"mse-w{bits}a8" for bits in range(2, 9)]}, "rows"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_its_field(studio: Studio, changes: dict[str, Any], field: str):
    with pytest.raises(InvalidInput) as raised:
        asked(studio, **{"rows": ["fp32", "bf16"], **changes})
    assert raised.value.values["field"] == field


def test_a_row_without_its_backend_is_refused_with_what_is_missing(studio: Studio):
    with pytest.raises(ModelUnavailable) as raised:
        asked(studio, rows=["fp32", "bitsandbytes_nf4"])
    assert raised.value.key in ("quant_needs_package", "quant_needs_cuda")


def test_a_row_may_be_typed_as_the_page_names_it(studio: Studio):
    rows = ["float32 (PyTorch)", "OpenVINO int8", "≈ TDQ-PTQ W4A4", "mse-w3a3"]
    assert chosen(studio, rows) == ["fp32", "openvino_int8", "tdq_ptq-w4a4", "mse-w3a3"]


def test_the_game_is_about_the_first_row_that_is_not_full_precision(studio: Studio):
    values = {"model": "little-world", "prompt": "a house", "kind": "cat", "steps": 4, "seed": 1}
    assert _game(studio, Subjects(studio), ["fp32", "mse", "bf16"], **values).quant_id == "mse-w8a8"
    with pytest.raises(InvalidInput) as raised:
        _game(studio, Subjects(studio), ["fp32"], **values)
    assert raised.value.key == "quant_nothing_to_guess"


def test_a_stop_leaves_the_rows_where_they_are():
    found = object()
    (updates,) = show(found, Stopped(), "en")  # type: ignore[arg-type]
    assert updates == {}


def test_a_row_event_of_another_work_changes_nothing():
    found = object()
    (updates,) = show(found, Row({"step": 1}), "en")  # type: ignore[arg-type]
    assert "value" not in updates[found]


def test_methods_are_named_on_the_page_without_the_engine(tmp_path: Path, studio: Studio):
    assert {"fp32", "tdq_ptq", "openvino_int8"} <= {method.id for method in studio.methods}
    assert dataclasses.is_dataclass(studio.methods[0])
