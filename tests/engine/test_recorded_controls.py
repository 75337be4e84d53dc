"""What steered a picture is written down, but for the pixels of what steered it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.engine.images import pixel_sha256
from studio.engine.infotext import FOREIGN, OWN, read, texts
from studio.engine.store import Store
from studio.types import ControlUse

from .told import MODELS, REQUEST, SHA256, drawn, foreign, keys, own

MAP = Image.new("RGB", (128, 64), "white")
DEPTH = ControlUse("depth", "net-depth", (MAP,), scale=0.8, start=0.1, end=0.9)
OTHER = ControlUse("other", "style", scale=1.2, options={"blocks": "up", "weight": 0.5})
STEERED = replace(REQUEST, controls=(DEPTH, OTHER))


def test_all_but_the_pictures_comes_back() -> None:
    restored = read(drawn(STEERED), MODELS)
    assert restored.values["controls"] == (replace(DEPTH, images=()), OTHER)
    assert restored.sources == {"controls.0.0": pixel_sha256(MAP)}
    (problem,) = restored.problems
    assert problem.key == "picture_steered"
    assert problem.values["names"] == "net-depth (0.8), style (1.2)"


def test_another_map_or_another_scale_is_another_record() -> None:
    others = (replace(DEPTH, images=(Image.new("RGB", (128, 64)),)), replace(DEPTH, scale=0.9))
    assert len({drawn(replace(REQUEST, controls=(use,))) for use in (DEPTH, *others)}) == 3


def test_a_picture_that_nothing_steered_says_nothing_of_it() -> None:
    assert "controls" not in json.loads(texts(REQUEST, SHA256)[OWN])["request"]
    assert read(drawn(REQUEST), MODELS).problems == ()


def test_other_programs_are_told_in_their_words() -> None:
    text = texts(STEERED, SHA256)[FOREIGN]
    unit = "Module: none, Model: net-depth, Weight: 0.8, Guidance Start: 0.1, Guidance End: 0.9"
    assert f'ControlNet 0: "{unit}", RNG: CPU' in text
    assert keys(foreign(text)) == ["picture_settings_unknown"]


def test_the_history_keeps_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path, 10**9)
    store.begin("a", "me", STEERED)
    kept = store.get("a", "me").request["controls"]
    store.close()
    assert kept == json.loads(texts(STEERED, SHA256)[OWN])["request"]["controls"]
    assert kept[0]["images"] == [pixel_sha256(MAP)]


def changed(controls: Any) -> bytes:
    record = json.loads(texts(STEERED, SHA256)[OWN])
    record["request"]["controls"] = controls
    return own(json.dumps(record))


ENTRY = {"control_id": "a", "model_id": "b"}


@pytest.mark.parametrize(
    "controls",
    [
        7,
        {},
        [7],
        [{"control_id": "a"}],
        [{**ENTRY, "model_id": 3}],
        [{**ENTRY, "model_id": "b" * 1000}],
        [{**ENTRY, "options": []}],
        [{**ENTRY, "options": {"a": {}}}],
        [{**ENTRY, "images": "f"}],
        [ENTRY] * 100,
    ],
)
def test_a_record_that_is_none_is_told_and_the_rest_is_read(controls: Any) -> None:
    restored = read(changed(controls), MODELS)
    assert [problem.key for problem in restored.problems] == ["not_readable_record"]
    assert "controls" not in restored.values
    assert restored.values["prompt"] == STEERED.prompt


@pytest.mark.parametrize(("change", "field"), [({"scale": 9}, "scale"), ({"start": 0.5, "end": 0.5}, "end")])
def test_a_use_out_of_its_bounds_is_told_by_its_field(change: dict[str, float], field: str) -> None:
    restored = read(changed([{**ENTRY, **change}, ENTRY]), MODELS)
    assert [problem.values.get("field") for problem in restored.problems] == [field, None]
    assert restored.values["controls"] == (ControlUse("a", "b"),)
