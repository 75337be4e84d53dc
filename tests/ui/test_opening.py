"""What happens when a page is opened."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.errors import StudioError
from studio.ui.opening import Opening
from studio.ui.run import browser_state, owner_of

OWNER = owner_of(None)


def jobs_that_know(*ids: str) -> Any:
    def get(job_id: str) -> Any:
        if job_id not in ids:
            raise StudioError("unknown_job")
        return SimpleNamespace(id=job_id)

    return SimpleNamespace(get=get)


@pytest.fixture
def opened(page: gr.Blocks) -> Any:
    """What the page's load answers to an owner and the ids of two jobs."""
    opening = Opening()
    for name in ("first", "second"):
        opening.job(browser_state(name))
    store = SimpleNamespace(get=lambda job_id, owner: None)
    studio: Any = SimpleNamespace(jobs=jobs_that_know("running"), store=store)
    opening.connect(studio, page, browser_state("owner"))
    (event,) = [one for one in page.fns.values() if (page._id, "load") in one.targets and one.js is None]
    return event.fn


def test_a_browser_keeps_its_name_and_a_new_one_gets_one(opened: Any):
    assert opened(OWNER, None, None)[0] == OWNER
    assert owner_of(opened(None, None, None)[0]) != OWNER


def test_only_a_job_that_is_known_is_told_of(opened: Any):
    found = opened(OWNER, "running", "long gone")[1:]
    assert found == ["running", gr.skip()]
    assert opened(OWNER, None, {"a": 1})[1:] == [gr.skip(), gr.skip()]
