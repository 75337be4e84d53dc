"""A job's events become what the panel shows."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from studio.engine.jobs import JobQueue
from studio.errors import InvalidInput, StudioError
from studio.events import Decoding, Done, Event, Failed, Loading, Queued, Row, Step, Stopped
from studio.ui.run import JobPanel, browser_state, draw_panel, follow, owner_of
from tests.ui.works import Scripted, finished, result


@pytest.fixture
def panel(page: gr.Blocks) -> JobPanel:
    return draw_panel(gr.Button(), gr.Button())


def text(panel: JobPanel, event: Event, language: str = "en") -> str:
    return str(panel.updates(event, language)[panel.phase])


@pytest.mark.parametrize(
    ("event", "phase", "percent", "sentence"),
    [
        (Queued(0), 0, 0, "Next in the queue"),
        (Queued(2), 0, 0, "In the queue, 2 before you"),
        (Loading("little-world"), 1, 0, "Loading little-world"),
        (Step(5, 10), 2, 48, "step 5 of 10"),
        (Decoding(), 3, 96, "pixels"),
        (Done(result()), 5, 100, "Done"),
        (Stopped(), 0, 0, "Stopped"),
    ],
)
def test_an_event_says_its_phase_its_share_and_its_sentence(
    panel: JobPanel, event: Event, phase: int, percent: int, sentence: str
):
    updates = panel.updates(event, "en")
    html = updates[panel.phase]
    assert (html.count('class="studio-step-past"'), f'aria-valuenow="{percent}"' in html) == (phase, True)
    assert sentence in html


def test_the_phase_is_told_in_chinese(panel: JobPanel):
    assert "第 5 / 10 步" in text(panel, Step(5, 10), "zh")


def test_a_model_name_cannot_bring_markup(panel: JobPanel):
    assert "<b>" not in text(panel, Loading("<b>"))


@pytest.mark.parametrize(("event", "running"), [(Step(1, 2), True), (Done(result()), False), (Stopped(), False)])
def test_only_a_running_job_can_be_stopped(panel: JobPanel, event: Event, running: bool):
    updates = panel.updates(event, "en")
    assert updates[panel.stop]["interactive"] is running
    assert updates[panel.start]["interactive"] is not running


def test_a_failure_is_told_in_the_persons_language(panel: JobPanel):
    failed = Failed(InvalidInput("too_long", field="prompt", maximum=5, value=6))
    alert = panel.updates(failed, "zh")[panel.alert]
    assert alert["visible"] is True
    assert alert["message"].startswith("提示词")


def test_a_failure_without_a_sentence_shows_none_of_its_insides(panel: JobPanel):
    assert "secret" not in panel.updates(Failed(ValueError("secret")), "en")[panel.alert]["message"]


def test_the_next_event_takes_the_alert_away(panel: JobPanel):
    assert panel.updates(Queued(0), "en")[panel.alert]["visible"] is False


@pytest.mark.parametrize("stored", [None, "", 7, ["a"], {"a": 1}, "guessable", "x" * 10_000])
def test_an_owner_that_the_server_did_not_make_is_replaced(stored: Any):
    assert owner_of(stored) != stored


def test_an_owner_stays_the_same():
    owner = owner_of(None)
    assert owner_of(owner) == owner


def test_two_owners_differ():
    assert owner_of(None) != owner_of(None)


def test_a_kept_value_is_read_again_after_a_restart(page: gr.Blocks):
    first, second = browser_state("job"), browser_state("job")
    assert (first.storage_key, first.secret) == (second.storage_key, second.secret)


def test_following_tells_to_the_end(queue: JobQueue):
    job = queue.submit(finished(), "one")
    assert isinstance(list(follow(job))[-1], Done)


def test_following_a_finished_job_tells_its_end_at_once(queue: JobQueue):
    job = queue.submit(finished(), "one")
    list(follow(job))
    assert [type(event) for event in follow(job)] == [Done]


def test_following_tells_again_in_silence(queue: JobQueue, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("studio.ui.run.TAIL_SECONDS", 0.05)
    work = Scripted()
    events = follow(queue.submit(work, "one"))
    seen = [event for event, _ in zip(events, range(5), strict=False)]
    work.may_end.set()
    assert seen[-1] == Step(2, 2)
    assert seen.count(Step(2, 2)) > 1


def test_a_row_is_told_once_however_long_the_silence(queue: JobQueue, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("studio.ui.run.TAIL_SECONDS", 0.05)
    work = Scripted((Row({"n": 1}), Step(1, 2), Row({"n": 2}), Step(2, 2)))
    told = []
    for event in follow(queue.submit(work, "one")):
        told.append(event)
        if len([one for one in told if isinstance(one, Step)]) > 6:  # the newest, again and again
            work.may_end.set()
    assert [event.values["n"] for event in told if isinstance(event, Row)] == [1, 2]
    assert isinstance(told[-1], Done)


def test_a_stopped_job_ends_the_following(queue: JobQueue):
    job = queue.submit(Scripted(), "one")
    queue.cancel(job.id, "one")
    assert isinstance(list(follow(job))[-1], Stopped)


def test_another_owner_cannot_stop_a_job(queue: JobQueue):
    job = queue.submit(Scripted(), "one")
    with pytest.raises(StudioError):
        queue.cancel(job.id, "two")
