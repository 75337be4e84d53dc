"""What is in memory, as the page tells it."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from studio.engine.entries import State
from studio.engine.snapshot import RegistrySnapshot, ResidentSnapshot, WorkingSnapshot
from studio.engine.working import RequestShape
from studio.text import LANGUAGES
from studio.types import AdaptedKey, PipelineKey, Task
from studio.ui.memory import COLUMNS, draw_memory, markup

KEY = PipelineKey("sd15")
MB = 10**6
FIRST = ResidentSnapshot(KEY, "sd15", 100 * MB, 100 * MB, 0, State.READY, 7, 1.25)
CLONE = ResidentSnapshot(
    AdaptedKey(KEY, frozenset({"a", "b"})), "<b>sd15</b>", 110 * MB, 10 * MB, 2, State.LOADING, 0, 0.0
)
SHAPE = RequestShape(KEY, Task.TEXT_TO_IMAGE, 512, 768, 3, True)
SNAPSHOT = RegistrySnapshot(
    resident=(FIRST, CLONE),
    device="cpu",
    bytes=110 * MB,
    limit_bytes=1000 * MB,
    parked_bytes=0,
    ram_limit_bytes=0,
    reserved_bytes=840 * MB,
    hits=31,
    misses=5,
    evictions=2,
    moves=0,
    last=WorkingSnapshot(SHAPE, 250 * MB, 240 * MB),
)


def cells(html: str) -> list[list[str]]:
    """The rows of the only table."""
    rows = re.findall(r"<tr>(.*?)</tr>", html.partition("<tbody>")[2])
    return [re.findall(r"<td>(.*?)</td>", row) for row in rows]


def test_each_resident_model_has_a_row_the_last_used_first():
    assert cells(markup(SNAPSHOT, "en")) == [
        ["&lt;b&gt;sd15&lt;/b&gt; + 2 adapters", "110.0 MB, 10.0 MB of it its own", "loading", "2", "0", "0.00 s"],
        ["sd15", "100.0 MB", "ready", "0", "7", "1.25 s"],
    ]
    assert len(COLUMNS) == 6


@pytest.mark.parametrize("language", LANGUAGES)
def test_totals_and_counters_are_told(language: str):
    told = markup(SNAPSHOT, language)
    assert all(number in told for number in ("110.0 MB", "1.0 GB", "840.0 MB", "31", "5", "2"))


def test_what_was_foretold_stands_beside_what_it_took():
    told = markup(SNAPSHOT, "en")
    assert "sd15 · 512 × 768 · ×3" in told
    assert told.index("250.0 MB") < told.index("240.0 MB")


def test_the_first_request_had_nothing_to_go_by():
    told = markup(replace(SNAPSHOT, last=WorkingSnapshot(SHAPE, None, 240 * MB)), "en")
    assert "nothing to go by yet" in told


def test_only_a_graphics_card_has_models_set_aside():
    assert "Set aside" not in markup(SNAPSHOT, "en")
    assert "Set aside" in markup(replace(SNAPSHOT, parked_bytes=5 * MB, ram_limit_bytes=1000 * MB), "en")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", State)
def test_every_state_has_a_word(state: State, language: str):
    assert cells(markup(replace(SNAPSHOT, resident=(replace(FIRST, state=state),)), language))[0][2]


def test_an_empty_memory_says_so():
    told = markup(replace(SNAPSHOT, resident=(), last=None), "en")
    assert "No model is in memory yet." in told
    assert "Nothing has been drawn yet." in told


@pytest.mark.parametrize(("reserved", "status"), [(840 * MB, "exception"), (0, "normal")])
def test_the_bar_warns_when_room_becomes_scarce(page: gr.Blocks, reserved: int, status: str):
    snapshot = replace(SNAPSHOT, reserved_bytes=reserved)
    studio = SimpleNamespace(started=True, registry=SimpleNamespace(snapshot=lambda: snapshot))
    drawn = draw_memory(studio)
    assert drawn.updates("en")[drawn.bar] == gr.update(percent=95 if reserved else 11, status=status)


def test_before_the_engine_runs_nothing_is_asked(page: gr.Blocks):
    drawn = draw_memory(SimpleNamespace(started=False))
    assert "starting" in drawn.updates("en")[drawn.text]
