"""History: the pictures that this browser asked for, with what it takes to draw them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_pil_to_cache

from studio.engine.record import Record
from studio.errors import StudioError
from studio.text import t
from studio.types import Tab
from studio.ui import antd
from studio.ui.details import Details, draw_details
from studio.ui.facts import facts
from studio.ui.pictures import EMPTY_PICTURE
from studio.ui.run import Updates, owner_of
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import INSTANT, card, plain
from studio.ui.workspace import LARGER, handed_to, larger, send, tab_of

PAGE_GENERATIONS = 16
COLUMNS = 4
# On a phone the details stand below all thumbnails.
SHOW_DETAILS = """() => document.querySelector("#history-picture")?.scrollIntoView({block: "nearest"})"""


@dataclass(frozen=True)
class View:
    """What the gallery shows. Names only: whoever reads it still has to be the owner.

    cursors: for each page down to the present one, the record that it begins below. tiles: id and index of each
    picture; chosen: the place among them of the one whose details are shown.
    """

    cursors: tuple[int | None, ...] = (None,)
    tiles: tuple[tuple[str, int], ...] = ()
    last: int | None = None
    chosen: int | None = None


@dataclass(frozen=True)
class History:
    """The parts of the page. Each handler reads as the owner that the browser names, and trusts nothing else."""

    services: Services
    view: gr.State
    alert: antd.Alert
    empty: gr.Column
    board: gr.Column
    gallery: gr.Gallery
    pages: gr.Row
    newer: gr.Button
    older: gr.Button
    details: Details

    def connect(self) -> None:
        """Wire the page. It is read anew whenever its tab is opened."""
        owner, details = self.services.owner, self.details
        shown = [self.view, self.alert, self.empty, self.board, self.gallery, self.pages, self.newer, self.older]
        shown += details.outputs
        inputs = [owner, self.view]
        self.services.tab.select(self.as_handler(self.refresh), inputs, shown, **INSTANT)
        self.older.click(self.as_handler(self.go_older), inputs, shown, **INSTANT)
        self.newer.click(self.as_handler(self.go_newer), inputs, shown, **INSTANT)
        self.gallery.select(self.choose, inputs, shown, **INSTANT).then(None, js=SHOW_DETAILS, api_visibility="private")
        details.delete.click(self.as_handler(self.ask), inputs, shown, **INSTANT)
        details.keep.click(lambda: gr.update(visible=False), None, details.confirm, **INSTANT)
        details.sure.click(self.as_handler(self.delete), inputs, shown, **INSTANT)
        # Through the queue: only there does gradio notice that a gr.State has changed.
        told = {"show_progress": "hidden", "api_visibility": "private"}
        sent = [self.alert, self.services.sent, self.services.tabs]
        details.send.click(self.as_handler(self.send), inputs, sent, **told)
        bar = details.actions.bar
        bar.input(self.as_handler(self.act), [*inputs, bar], [*sent, details.image, details.download], **told)

    def refresh(self, owner: str, view: View, language: str) -> Updates:
        """The newest page."""
        return self._page(owner, View())

    def go_older(self, owner: str, view: View, language: str) -> Updates:
        return self._page(owner, View((*view.cursors, view.last)))

    def go_newer(self, owner: str, view: View, language: str) -> Updates:
        return self._page(owner, View(view.cursors[:-1] or (None,)))

    def choose(self, request: gr.Request, owner: object, view: View | None, event: gr.SelectData) -> Updates:
        """Show the picture that was clicked."""
        chosen = replace(view or View(), chosen=event.index)
        return self.as_handler(self.show)(request, owner, chosen)

    def ask(self, owner: str, view: View, language: str) -> Updates:
        """Ask before anything is deleted."""
        record, _ = self._chosen(owner, view)
        count = len(record.pictures)
        question = t("history.sure_all" if count > 1 else "history.sure_one", language, count=count)
        return {self.details.confirm: gr.update(visible=True), self.details.question: plain(question)}

    def delete(self, owner: str, view: View, language: str) -> Updates:
        """Delete the chosen generation, and show what is left of the page or the page before."""
        record, _ = self._chosen(owner, view)
        self.services.studio.store.delete(record.id, owner)
        return self._page(owner, View(view.cursors))

    def send(self, owner: str, view: View, language: str) -> Updates:
        """Give the chosen picture to the tab that drew it, which reads from it how it was drawn."""
        record, index = self._chosen(owner, view)
        return send(self.services, _bytes_of(record, index), tab_of(record.request))

    def act(self, owner: str, view: View, action: object, language: str) -> Updates:
        """Do with the chosen picture what was pressed: show it larger, or give it to a tab that draws from it."""
        if action == LARGER:
            return self.enlarge(owner, view, language)
        return send(self.services, _bytes_of(*self._chosen(owner, view)), handed_to(action), as_input=True)

    def enlarge(self, owner: str, view: View, language: str) -> Updates:
        """Show the chosen picture at twice its sides, and offer that for download."""
        picture = larger(self.services, owner, _bytes_of(*self._chosen(owner, view)))
        served = save_pil_to_cache(picture, self.details.image.GRADIO_CACHE, format="png")
        return {self.details.image: served, self.details.download: served}

    def as_handler(self, handler: Callable[..., Updates]) -> Callable[..., Updates]:
        """A handler for an event: knows who asks and in which language, and tells what is refused."""

        def handle(request: gr.Request, owner: object, view: View | None, *values: object) -> Updates:
            language = language_of(request)
            try:
                updates = handler(owner_of(owner), view or View(), *values, language)
                return {self.alert: gr.update(visible=False), **updates}
            except StudioError as error:
                return {self.alert: gr.update(visible=True, message=describe(error, language))}

        return handle

    def _page(self, owner: str, view: View) -> Updates:
        """A page of the gallery, with nothing chosen. Past the last one: the page before it."""
        store = self.services.studio.store
        records = store.list(owner, PAGE_GENERATIONS + 1, view.cursors[-1])
        while not records and len(view.cursors) > 1:
            view = View(view.cursors[:-1])
            records = store.list(owner, PAGE_GENERATIONS + 1, view.cursors[-1])
        older, records = len(records) > PAGE_GENERATIONS, records[:PAGE_GENERATIONS]
        tiles = [
            (record, index)
            for record in records
            for index, picture in enumerate(record.pictures)
            if picture.path.is_file() and picture.thumbnail.is_file()
        ]
        last = records[-1].number if records else None
        return {
            self.view: View(view.cursors, tuple((record.id, index) for record, index in tiles), last),
            self.empty: gr.update(visible=not records),
            self.board: gr.update(visible=bool(records)),
            self.gallery: gr.update(value=[self._tile(*tile) for tile in tiles], selected_index=None),
            self.pages: gr.update(visible=older or len(view.cursors) > 1),
            self.newer: gr.update(interactive=len(view.cursors) > 1),
            self.older: gr.update(interactive=older),
            self.details.hint: gr.update(visible=True),
            self.details.box: gr.update(visible=False),
        }

    def _tile(self, record: Record, index: int) -> tuple[str | None, str]:
        """A thumbnail, and the prompt for who cannot see it."""
        return self._served(self.gallery, record.pictures[index].thumbnail), str(record.request["prompt"])

    def show(self, owner: str, view: View, language: str) -> Updates:
        """The details of the chosen picture."""
        record, index = self._chosen(owner, view)
        if not record.pictures[index].path.is_file():
            raise StudioError("unknown_record")
        picture = self._served(self.details.image, record.pictures[index].path)
        return {
            self.view: view,
            self.details.hint: gr.update(visible=False),
            self.details.box: gr.update(visible=True),
            self.details.image: picture,
            self.details.facts: facts(record, index, language),
            self.details.send: gr.update(value=t(f"history.send.{tab_of(record.request)}", language)),
            self.details.download: picture,
            self.details.confirm: gr.update(visible=False),
        }

    def _chosen(self, owner: str, view: View) -> tuple[Record, int]:
        """The owner's generation that was chosen, and which of its pictures. Raises StudioError."""
        if view.chosen is None or not 0 <= view.chosen < len(view.tiles):
            raise StudioError("unknown_record")
        record_id, index = view.tiles[view.chosen]
        return self.services.studio.store.get(record_id, owner), index

    @staticmethod
    def _served(widget: Any, path: Path) -> str | None:
        """A copy of a file where the page may serve it from: nothing can be fetched from the history's own folder."""
        copy: str | None = widget.move_resource_to_block_cache(path)
        return copy


def _bytes_of(record: Record, index: int) -> bytes:
    """A picture's file. Raises StudioError for one that is gone."""
    try:
        return record.pictures[index].path.read_bytes()
    except OSError as error:
        raise StudioError("unknown_record") from error


def build(services: Services) -> None:
    """Draw the page and wire it."""
    draw_history(services).connect()


def draw_history(services: Services) -> History:
    """The empty state, and the gallery beside the details."""
    view = gr.State(None)
    alert = antd.Alert(message="", type="error", show_icon=True, visible=False, elem_classes="studio-alert")
    with gr.Column(elem_classes="studio-empty", elem_id="history-empty") as empty:
        gr.HTML(EMPTY_PICTURE)
        gr.HTML(label("history.empty"), elem_classes="studio-empty-title")
        gr.HTML(label("history.empty_hint"))
    with gr.Column(visible=False, elem_classes="studio-history") as board:
        with card("history.card.pictures", "gallery"):
            gallery, pages, newer, older = _draw_gallery()
        with card("history.card.details", "details"):
            details = draw_details()
    return History(services, view, alert, empty, board, gallery, pages, newer, older, details)


def _draw_gallery() -> tuple[gr.Gallery, gr.Row, gr.Button, gr.Button]:
    """The thumbnails, and the row with the buttons between pages."""
    gallery = gr.Gallery(
        show_label=False,
        container=False,
        columns=COLUMNS,
        allow_preview=False,
        object_fit="cover",
        height="auto",
        buttons=[],
        interactive=False,
        elem_id="history-gallery",
    )
    with gr.Row(elem_classes="studio-actions", visible=False) as pages:
        newer = gr.Button(label("history.newer"), size="sm", min_width=80, interactive=False, elem_id="history-newer")
        older = gr.Button(label("history.older"), size="sm", min_width=80, interactive=False, elem_id="history-older")
    return gallery, pages, newer, older


TAB = Tab(id="history", order=90, build=build)
