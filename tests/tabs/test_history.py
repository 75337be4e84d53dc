"""The history tab shows a browser its own pictures, and nobody else's."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.engine.infotext import read
from studio.engine.store import Store
from studio.tabs import history as history_module
from studio.tabs.history import History, View, draw_history
from studio.text import LANGUAGES
from studio.ui.facts import facts
from studio.ui.services import Sent, Services
from tests.engine.histories import drawn, wish

ME, YOU = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
REQUEST: Any = SimpleNamespace(query_params={}, headers={})
Updates = dict[Any, Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "history", 10**9)
    yield store
    store.close()


@pytest.fixture
def history(page: gr.Blocks, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    studio: Any = SimpleNamespace(store=store)
    with gr.Tabs() as tabs, gr.Tab("history") as tab:
        history = draw_history(Services(studio, page, gr.BrowserState(), tabs, tab, gr.State()))
        history.connect()
    return history


def keep(store: Store, record_id: str, owner: str = ME, **changed: Any) -> None:
    request = wish(**changed)
    store.begin(record_id, owner, request)
    store.finish(record_id, drawn(request))


def ask(history: History, handler: Callable[..., Updates], view: View | None = None, owner: object = ME) -> Updates:
    return history.as_handler(handler)(REQUEST, owner, view)


def chosen(history: History, tile: int) -> View:
    """The view after a click on a tile of the first page."""
    view = ask(history, history.refresh)[history.view]
    event: Any = SimpleNamespace(index=tile)
    return history.choose(REQUEST, ME, view, event)[history.view]  # type: ignore[no-any-return]


def tiles(history: History, updates: Updates) -> list[tuple[str, int]]:
    shown = updates[history.view].tiles
    assert len(updates[history.gallery]["value"]) == len(shown)
    return list(shown)


def refused(history: History, updates: Updates) -> bool:
    """Whether nothing but a sentence came back."""
    return list(updates) == [history.alert] and "no such picture" in updates[history.alert]["message"]


def test_without_pictures_it_says_how_to_get_one(history: History):
    updates = ask(history, history.refresh)
    assert (updates[history.empty]["visible"], updates[history.board]["visible"]) == (True, False)


def test_the_newest_comes_first_and_every_picture_has_a_tile(history: History, store: Store):
    keep(store, "a", num_images=2)
    keep(store, "b")
    updates = ask(history, history.refresh)
    assert tiles(history, updates) == [("b", 0), ("a", 0), ("a", 1)]
    assert (updates[history.empty]["visible"], updates[history.board]["visible"]) == (False, True)
    assert updates[history.pages]["visible"] is False


def test_pages_lead_to_older_pictures_and_back(history: History, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history_module, "PAGE_GENERATIONS", 2)
    for record_id in "abcde":
        keep(store, record_id)
    pages = [ask(history, history.refresh)]
    for _ in range(2):
        pages.append(ask(history, history.go_older, pages[-1][history.view]))
    assert [tiles(history, page) for page in pages] == [[("e", 0), ("d", 0)], [("c", 0), ("b", 0)], [("a", 0)]]
    assert [page[history.older]["interactive"] for page in pages] == [True, True, False]
    assert [page[history.newer]["interactive"] for page in pages] == [False, True, True]
    back = ask(history, history.go_newer, pages[2][history.view])
    assert tiles(history, back) == [("c", 0), ("b", 0)]


def test_a_chosen_picture_is_served_as_it_was_kept(history: History, store: Store):
    keep(store, "a", num_images=2)
    view = chosen(history, 1)
    updates = ask(history, history.show, view)
    served = Path(updates[history.details.image])
    assert served.read_bytes() == store.get("a", ME).pictures[1].path.read_bytes()
    assert updates[history.details.download] == updates[history.details.image]
    assert not served.is_relative_to(store._folder)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_facts_say_what_it_takes_to_draw_it_again(store: Store, language: str):
    keep(store, "a", seed=41, num_images=2, prompt="a red ball")
    store.write_marks("a", [[], [{"labels": {"en": "ball", "zh": "球"}, "holds": True, "confidence": 1, "ceiling": 1}]])
    text = re.sub("<[^>]+>", " ", facts(store.get("a", ME), 1, language))
    for value in ("a red ball", "42", "25", "DPM++ 2M", "64 × 64", "little-world", "9.00 s", "✓"):
        assert value in text


def test_a_prompt_cannot_bring_markup(store: Store):
    keep(store, "a", prompt="<img src=x onerror=alert(1)>")
    assert "<img" not in facts(store.get("a", ME), 0, "en")


@pytest.mark.parametrize("owner", [YOU, None, "", "me", ["me"], {"a": 1}])
def test_another_owner_gets_nothing_even_with_the_view_of_the_first(history: History, store: Store, owner: object):
    keep(store, "a")
    view = chosen(history, 0)
    assert tiles(history, ask(history, history.refresh, owner=owner)) == []
    for handler in (history.show, history.ask, history.delete, history.send):
        assert refused(history, ask(history, handler, view, owner))
    assert store.get("a", ME).pictures[0].path.is_file()


@pytest.mark.parametrize(
    "view", [View(tiles=(("0" * 32, 0),), chosen=0), View(chosen=3), View(chosen=-1), View(), None]
)
def test_a_guessed_id_or_place_is_refused(history: History, store: Store, view: View | None):
    keep(store, "a")
    for handler in (history.show, history.ask, history.delete, history.send):
        assert refused(history, ask(history, handler, view))


def test_it_asks_before_it_deletes_and_says_how_many(history: History, store: Store):
    keep(store, "a", num_images=3)
    updates = ask(history, history.ask, chosen(history, 0))
    assert updates[history.details.confirm]["visible"]
    assert "3 in all" in updates[history.details.question]
    assert len(store.list(ME, 9)) == 1


def test_deleting_the_last_of_a_page_shows_the_page_before(
    history: History, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(history_module, "PAGE_GENERATIONS", 2)
    for record_id in "abc":
        keep(store, record_id)
    second = ask(history, history.go_older, ask(history, history.refresh)[history.view])
    event: Any = SimpleNamespace(index=0)
    view = history.choose(REQUEST, ME, second[history.view], event)[history.view]
    assert tiles(history, ask(history, history.delete, view)) == [("c", 0), ("b", 0)]


def test_a_sent_picture_carries_its_settings_to_the_other_tab(history: History, store: Store):
    keep(store, "a", seed=5, num_images=2)
    view = chosen(history, 1)
    first, second = (ask(history, history.send, view)[history.services.sent] for _ in range(2))
    assert isinstance(first, Sent)
    values = read(first.data, ["little-world"]).values
    assert (values["prompt"], values["seed"]) == ("a red ball 红球", 6)
    assert first != second


def test_a_picture_whose_file_is_gone_breaks_nothing(history: History, store: Store):
    keep(store, "a")
    keep(store, "b")
    view = chosen(history, 1)
    store.get("a", ME).pictures[0].path.unlink()
    assert tiles(history, ask(history, history.refresh)) == [("b", 0)]
    assert refused(history, ask(history, history.show, view))
    assert refused(history, ask(history, history.send, view))
