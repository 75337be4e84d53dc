"""A LoRA that is trained in the queue: it learns on a clone, lets others through, and ends on the shelf."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from studio.build import Studio, build_studio
from studio.engine.generate import Generation
from studio.engine.lora_truth import truth_of
from studio.errors import InvalidInput, StudioError
from studio.events import Done, Event, Row, Stopped
from studio.settings import Settings
from studio.tabs import lora, lora_subject, lora_training
from studio.tabs.lora_form import draw_form, free_name, is_running, name_of, shown, training_of
from studio.tabs.lora_subject import CONCEPTS, SOURCES, Subject, subject_of
from studio.tabs.lora_training import LoraTraining, Taught
from studio.types import GenerationRequest, Scheduler
from tests.tiny import make_little_world
from tests.ui.test_source import upload

KNOBS = '{"minutes": 1, "rank": 2}'
REQUEST = GenerationRequest(
    "little-world", "a cat", seed=1, width=64, height=64, num_inference_steps=2, scheduler=Scheduler.DDIM
)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """A studio of random weights whose minutes are seconds and whose lessons are few."""
    monkeypatch.setattr(lora_training, "MINUTE_SECONDS", 2.0)
    monkeypatch.setattr(lora_training, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(lora_training, "CHUNK", 4)
    monkeypatch.setattr(lora_training, "CHUNKS", 1)
    make_little_world(tmp_path / "models" / "little-world")
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "outputs", device="cpu", backend="torch")
    studio = build_studio(settings)
    yield studio
    studio.jobs.close()


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, Any]]:
    return [upload(tmp_path, Image.new("RGB", (90, 60), (80 * n, 0, 0)), f"{n}.png") for n in range(3)]


def work(studio: Studio, source: str = "pictures", files: Any = None, trigger: str = "my Mug!") -> LoraTraining:
    return training_of(studio, source, files, trigger, KNOBS, "little-world")


def drawn(studio: Studio, prompt: str = "a cat") -> np.ndarray:
    request = replace(REQUEST, prompt=prompt)
    *_, last = studio.jobs.submit(Generation(request), "other").tail()
    assert isinstance(last, Done), last
    return np.asarray(last.result.images[0])


@pytest.mark.parametrize("source", ["pictures", "rocket"])
def test_what_was_learnt_lies_on_the_shelf_and_acts(studio: Studio, files: list[dict[str, Any]], source: str):
    before = drawn(studio)
    *events, last = studio.jobs.submit(work(studio, source, files), "me").tail()
    assert isinstance(last, Done), last
    taught = last.result
    assert (taught.name, taught.losses[-1][0] >= 1, len(taught.pictures) >= 2) == ("my_Mug", True, True)
    assert taught.before > 0 and taught.after > 0
    passed = studio.loras.passed("my_Mug")
    truth = truth_of(passed)
    assert truth.triggers == ("my Mug!",) and {passed.rank(pair) for pair in passed.pairs} == {2}
    assert [row.values["pictures_read"] for row in events if isinstance(row, Row) and "pictures_read" in row.values]
    assert (drawn(studio) == before).all(), "the base is what it was"
    lora.admit(studio)
    assert (drawn(studio, "a cat <lora:my_Mug:1>") != before).any()
    assert free_name(studio, "my_Mug") == "my_Mug-2"


def test_who_stops_it_keeps_what_was_learnt_and_others_draw_meanwhile(
    studio: Studio, files: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lora_training, "MINUTE_SECONDS", 600.0)
    before = drawn(studio)
    job = studio.jobs.submit(work(studio, files=files), "me")
    wait_for(job, lambda event: isinstance(event, Row) and bool(getattr(event.values.get("taught"), "losses", ())))
    assert is_running(studio, job.id) and name_of(studio, job.id) is None
    assert (drawn(studio) == before).all(), "a guest is drawn with the base alone"
    assert is_running(studio, job.id)
    studio.jobs.cancel(job.id, "me")
    *_, last = job.tail()
    assert isinstance(last, Done) and last.result.name == name_of(studio, job.id) == "my_Mug"
    assert "my_Mug" in studio.loras.usable()


def test_a_browser_without_a_name_starts_and_stops_its_own(
    studio: Studio, page: gr.Blocks, files: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lora_training, "MINUTE_SECONDS", 600.0)
    form, services = draw_form("x", visible=True), SimpleNamespace(studio=studio)
    values = ("pictures", files, "zorbi", KNOBS, "little-world")

    def press(button: str, job_id: str | None) -> Iterator[dict[Any, Any]]:
        return form.pressed(services, None, None, button, job_id, *values)  # type: ignore[arg-type]

    told = press("start", None)
    job_id = next(told)[form.job]
    while "<svg" not in next(told)[form.found]:
        pass
    assert [list(one) for one in press("start", job_id)] == [[form.job]], "one after the other"
    assert is_running(studio, job_id)
    list(press("stop", job_id))
    assert "lies on your shelf" in list(told)[-1][form.found] and name_of(studio, job_id) == "zorbi"


def test_who_stops_it_before_it_learns_leaves_nothing(studio: Studio, files: list[dict[str, Any]]):
    job = studio.jobs.submit(work(studio, files=files), "me")
    job.request_stop()
    *_, last = job.tail()
    assert isinstance(last, Stopped) and studio.loras.usable() == {}


def wait_for(job: Any, seen: Any) -> None:
    give_up = time.monotonic() + 60
    for event in job.tail(60):
        if seen(event):
            return
        assert time.monotonic() < give_up
    pytest.fail("the event never came")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"source": "cubism"}, "source"),
        ({"source": ["pictures"]}, "source"),
        ({"files": None}, "pictures"),
        ({"files": [{"path": "/nowhere"}] * 2}, "pictures"),
        ({"files": [{"path": "/nowhere"}] * 41}, "pictures"),
        ({"files": [{"path": "/nowhere"}] * 3}, "pictures 1"),
        ({"trigger": ""}, None),
        ({"trigger": None}, None),
        ({"trigger": "x" * 41}, None),
        ({"knobs": '{"minutes": 0}'}, "minutes"),
        ({"knobs": '{"minutes": 11}'}, "minutes"),
        ({"knobs": '{"rank": 33}'}, "rank"),
        ({"knobs": '{"rank": 0.5}'}, "rank"),
        ({"base_id": "sdxl"}, "base_id"),
        ({"base_id": None}, "base_id"),
    ],
)
def test_bad_input_is_refused_by_name_before_anything_is_loaded(
    studio: Studio, files: list[dict[str, Any]], changed: dict[str, Any], field: str | None
):
    values = {"source": "pictures", "files": files, "trigger": "zorbi", "knobs": KNOBS, "base_id": "little-world"}
    with pytest.raises(StudioError) as refused:
        training_of(studio, **{**values, **changed})
    if field is None:
        assert refused.value.key == "lora_trigger"
    else:
        assert isinstance(refused.value, InvalidInput) and refused.value.values["field"] == field
    assert not studio.started


def test_strangers_train_nothing(studio: Studio, files: list[dict[str, Any]]):
    public = SimpleNamespace(settings=replace(studio.settings, public=True))
    with pytest.raises(StudioError, match="open to everybody"):
        training_of(public, "pictures", files, "zorbi", KNOBS, "little-world")  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [one for one in SOURCES if one != "pictures"])
def test_a_scenes_captions_call_it_by_the_persons_word_alone(source: str):
    (chunk,) = subject_of(source, " zorbi ", None, 32).chunks(32, 1, 8)
    texts = [text for captions in chunk.captions for text in captions]
    assert chunk.pictures.shape == (8, 32, 32, 3) and len(texts) == 32
    assert all("zorbi" in text for text in texts)
    role = CONCEPTS.get(source, "style")
    if role != "style":
        names = [name for names in lora_subject.NAMES[role].values() for name in names[source]]
        assert not any(name in text for text in texts for name in names)


def test_a_persons_pictures_are_called_by_their_word(files: list[dict[str, Any]]):
    subject = subject_of("pictures", "zorbi", files, 32)
    (chunk,) = subject.chunks(32, 8, 32)
    assert chunk.pictures[1, 0, 0].tolist() == [80, 0, 0] and chunk.captions == [["zorbi"]] * 3
    assert subject.prompt == "zorbi" and Subject("zorbi", "pixel").prompt == "a cat in a room, zorbi"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_shown_grows_with_the_training(language: str):
    picture = Image.new("RGB", (8, 8))
    begun = Taught(pictures=((0, picture),))
    taught = replace(begun, losses=((2, 0.5), (4, 0.3)), pictures=((0, picture), (4, picture)), spent_seconds=4.2)
    done = replace(taught, before=0.5, after=0.25, name="<b>momo")
    rows: list[Event] = [
        Row({"pictures_read": 3, "pictures": 7}),
        Row({"taught": begun}),
        Row({"taught": taught}),
        Done(done),
    ]
    read, first, later, last = (shown(row, language) for row in rows)
    assert "3" in read and "7" in read and "<svg" not in first and "<svg" in later
    assert (first.count("<img"), later.count("<img")) == (1, 2)
    assert "0.250" in last and "&lt;b&gt;momo" in last
