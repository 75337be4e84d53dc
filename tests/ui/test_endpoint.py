"""A program's generation: through the queue, with errors that can be read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.engine.jobs import JobQueue
from studio.errors import InvalidInput
from studio.perception.measure import Mark
from studio.ui import endpoint
from tests.ui.works import Scripted, finished, result


def asking(language: str = "en") -> gr.Request:
    return gr.Request(query_params={}, headers={"accept-language": language}, client={"host": "10.0.0.1", "port": 1})


def studio(queue: JobQueue, eye: Any = None) -> Any:
    return SimpleNamespace(jobs=queue, eye=eye)


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wish is the work itself."""
    monkeypatch.setattr(endpoint, "Generation", lambda wish: wish)


@pytest.mark.usefixtures("works")
def test_the_last_answer_is_the_picture_and_its_request(queue: JobQueue):
    *_, (image, answer) = endpoint.stream(studio(queue), finished, asking())
    assert image.tobytes() == result().images[0].tobytes()
    assert (answer["phase"], answer["seed"], answer["steps"]) == ("done", 7, 10)


@pytest.mark.usefixtures("works")
def test_the_picture_says_how_it_was_drawn(queue: JobQueue):
    *_, (image, _) = endpoint.stream(studio(queue), finished, asking())
    assert image.info.keys() == {"parameters", "studio"}


@pytest.mark.usefixtures("works")
def test_before_the_end_it_tells_how_far_it_is(queue: JobQueue):
    work = Scripted()
    answers = endpoint.stream(studio(queue), lambda: work, asking())
    seen = [next(answers)[1] for _ in range(2)]
    assert seen[-1] == {"phase": "step", "index": 2, "total": 2}
    work.may_end.set()


@pytest.mark.usefixtures("works")
def test_a_caller_who_leaves_stops_the_job(queue: JobQueue):
    work = Scripted()
    answers = endpoint.stream(studio(queue), lambda: work, asking())
    next(answers)
    answers.close()
    assert queue.submit(finished(), "next").tail(5.0) is not None
    *_, (_, answer) = endpoint.stream(studio(queue), finished, asking())
    assert answer["phase"] == "done"


def test_a_wish_that_is_refused_says_field_and_limit(queue: JobQueue):
    def wish() -> Any:
        raise InvalidInput("bad_whole_number", field="width", minimum=32, maximum=1024, value="9")

    with pytest.raises(gr.Error, match=r"width must be .* 32 to 1024"):
        next(endpoint.stream(studio(queue), wish, asking()))


@pytest.mark.usefixtures("works")
def test_a_failure_inside_becomes_a_sentence(queue: JobQueue):
    work = finished(ValueError("secret"))
    with pytest.raises(gr.Error) as told:
        list(endpoint.stream(studio(queue), lambda: work, asking()))
    assert "secret" not in told.value.message


@pytest.mark.usefixtures("works")
def test_what_the_eye_found_is_part_of_the_answer(queue: JobQueue):
    mark = Mark({"en": "red ball", "zh": "红球"}, holds=True, confidence=0.9, ceiling=0.98)
    eye = SimpleNamespace(obedience=lambda prompt, pictures: [(mark,)])
    *_, (_, answer) = endpoint.stream(studio(queue, eye), finished, asking())
    assert answer["obedience"] == [{"wish": "red ball", "holds": True, "confidence": 0.9, "ceiling": 0.98}]
