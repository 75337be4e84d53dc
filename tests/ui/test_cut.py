"""A job that the studio's end cut short is told to its owner, and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.catalog import specs
from studio.engine.record import State
from studio.engine.store import Store
from studio.text import LANGUAGES
from studio.ui.cut import TOLD_CHARACTERS, cut_event, cut_record, refilled
from studio.ui.run import JobFlow, draw_panel, owner_of
from tests.engine.histories import drawn, wish

OWNER = owner_of(None)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Any]:
    """A studio that was killed while `running` ran and `waiting` waited, after `done` was done."""
    before = Store(tmp_path / "history", 10**9)
    for record_id in ("done", "running", "waiting"):
        before.begin(record_id, OWNER, wish(seed=5))
    before.finish("done", drawn(wish(seed=5)))
    before.run("running")
    before.close()
    store = Store(tmp_path / "history", 10**9)
    yield SimpleNamespace(store=store, specs=specs())
    store.close()


@pytest.mark.parametrize("job_id", ["running", "waiting"])
def test_what_ran_or_waited_when_the_studio_ended_was_cut(studio: Any, job_id: str):
    record = cut_record(studio, OWNER, job_id)
    assert record is not None
    assert record.state is State.CUT


@pytest.mark.parametrize("job_id", ["done", "unknown", "", None, 7, ["running"]])
def test_what_was_not_cut_is_not_told_as_cut(studio: Any, job_id: Any):
    assert cut_record(studio, OWNER, job_id) is None


def test_another_person_learns_nothing(studio: Any):
    assert cut_record(studio, owner_of(None), "running") is None


def test_a_history_that_cannot_be_read_knows_of_none(tmp_path: Path):
    (tmp_path / "history").write_text("a file")
    broken: Any = SimpleNamespace(store=Store(tmp_path / "history", 10**9))
    assert cut_record(broken, OWNER, "running") is None


@pytest.mark.parametrize("prompt", ["a red ball", "x" * 500])
def test_the_sentence_names_the_prompt_in_both_languages_and_stays_short(studio: Any, prompt: str):
    studio.store.begin("new", OWNER, wish(prompt=prompt))
    studio.store.fail("new", State.CUT)
    error = cut_event(studio.store.get("new", OWNER)).error
    for language in LANGUAGES:
        message = error.message(language)  # type: ignore[attr-defined]
        assert prompt[:TOLD_CHARACTERS] in message
        assert len(message) < 300


def test_the_fields_are_filled_with_the_wish(studio: Any, page: gr.Blocks):
    fields = {name: gr.Textbox() for name in ("prompt", "seed", "keep_seed", "width", "base_id", "no_field_of_a_wish")}
    record = cut_record(studio, OWNER, "running")
    assert record is not None
    updates = refilled(record, fields, specs())
    values = {name: updates[widget]["value"] for name, widget in fields.items() if widget in updates}
    assert values == {"prompt": wish().prompt, "seed": 5, "keep_seed": True, "width": 64, "base_id": "little-world"}


def test_a_model_that_is_gone_leaves_the_pages_own_and_its_sizes(studio: Any, page: gr.Blocks):
    fields = {name: gr.Textbox() for name in ("prompt", "width", "base_id")}
    record = cut_record(studio, OWNER, "running")
    assert record is not None
    assert [*refilled(record, fields, {})] == [fields["prompt"]]


@pytest.mark.parametrize(("job_id", "told"), [("running", True), ("done", False), (None, False)])
def test_the_page_says_so_when_it_is_opened_again(studio: Any, page: gr.Blocks, job_id: Any, told: bool):
    studio.jobs = SimpleNamespace(get=_unknown)
    panel = draw_panel(gr.Button(), gr.Button())
    flow = JobFlow(studio, panel, gr.BrowserState(), gr.BrowserState(), [], lambda event, language: iter(()))
    (updates,) = flow.tail(gr.Request(query_params={"lang": "en"}, headers={}), OWNER, job_id)
    assert ("Cut short" in str(updates.get(panel.phase))) is told
    if told:
        assert wish().prompt in updates[panel.alert]["message"]
        assert updates[panel.start]["interactive"] is True


def _unknown(job_id: str) -> Any:
    from studio.errors import StudioError

    raise StudioError("unknown_job")
