"""The models: on each tab a choice of those that are at hand, and a drawer that says what the others are, how large
and under which licence, and downloads them where that is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.engine.places import Place
from studio.errors import StudioError
from studio.events import Done, Downloading, Event, Failed, Queued, Stopped
from studio.text import size, t
from studio.types import ModelSpec
from studio.ui import antd
from studio.ui.drawer import Drawer, Updates, draw_drawer
from studio.ui.progress import progress_bar
from studio.ui.services import ModelChoice, Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import INSTANT, plain

if TYPE_CHECKING:
    from studio.build import Studio

REVISION_CHARACTERS = 8
ABSENT = ("not_downloaded", "model_missing")


def draw_model_choice(services: Services, specs: Mapping[str, ModelSpec], elem_id: str) -> gr.Dropdown:
    """A choice between those of some models that are at hand; hidden while there is only one. The first is always
    offered: if it is missing, asking for it says what to do."""
    names = _names(specs, services.studio.places.present())
    widget = gr.Dropdown(
        names, value=next(iter(specs)), label=label("text2img.base_id"), visible=len(names) > 1, elem_id=elem_id
    )
    services.models.append(ModelChoice(widget, specs))
    return widget


def offers(choices: Iterable[ModelChoice], present: tuple[str, ...]) -> Updates:
    """Let every choice of a page offer the models that are at hand now."""
    names = {choice.widget: _names(choice.specs, present) for choice in choices}
    return {widget: gr.update(choices=own, visible=len(own) > 1) for widget, own in names.items()}


def _names(specs: Mapping[str, ModelSpec], present: Iterable[str]) -> list[tuple[str, str]]:
    """Name and id of each model that is offered."""
    offered = {next(iter(specs)), *present}
    return [(spec.name, model_id) for model_id, spec in specs.items() if model_id in offered]


@dataclass(frozen=True)
class Card:
    """One model in the drawer. start, stop: None where nothing may be downloaded."""

    spec: ModelSpec
    facts: gr.HTML
    start: gr.Button | None = None
    stop: gr.Button | None = None

    @property
    def outputs(self) -> list[Any]:
        return [part for part in (self.facts, self.start, self.stop) if part is not None]


@dataclass(frozen=True)
class ModelsDrawer:
    """All models, and the downloads. What it shows is read from the studio whenever it is looked at: a page that is
    loaded anew, or another person's, sees the same download."""

    studio: Studio
    drawer: Drawer
    alert: antd.Alert
    cards: tuple[Card, ...]

    def connect(self, opener: gr.Button) -> None:
        """Wire the drawer, and the buttons of each card."""
        outputs = [self.alert, *(part for card in self.cards for part in card.outputs)]
        self.drawer.connect(opener, self.updates, outputs)
        for card in self.cards:
            if card.start is not None and card.stop is not None:
                card.start.click(self._handler("start", card.spec), None, outputs, **INSTANT)
                card.stop.click(self._handler("stop", card.spec), None, outputs, **INSTANT)

    def updates(self, language: str) -> Updates:
        """What every card says now."""
        places = self.studio.places.look()
        told: Updates = {self.alert: gr.update(visible=False)}
        for card in self.cards:
            told |= self._card_updates(card, places[card.spec.id], language)
        return told

    def _handler(self, action: str, spec: ModelSpec) -> Any:
        """Start or stop the download of a model, and show what has become of it."""

        def handle(request: gr.Request) -> Updates:
            language = language_of(request)
            try:
                downloads = self._downloads()
                downloads.start(spec) if action == "start" else downloads.stop(spec.id)
            except StudioError as error:
                return {self.alert: gr.update(visible=True, message=describe(error, language))}
            return self.updates(language)

        return handle

    def _downloads(self) -> Any:
        """The studio's downloads. Raises StudioError where there are none, whoever asks."""
        if self.studio.downloads is None:
            raise StudioError("no_downloads")
        return self.studio.downloads.get()

    def _card_updates(self, card: Card, place: Place, language: str) -> Updates:
        """What one card says now."""
        event = self._event(card.spec)
        if isinstance(event, Done) and not place.present:
            place = self.studio.places.look(anew=True)[card.spec.id]
        running = isinstance(event, Queued | Downloading)
        updates: Updates = {card.facts: _facts(place, event, self._memory(card.spec, language), language)}
        if card.start is not None:
            begun = isinstance(event, Stopped | Failed)
            text = t("models.go_on" if begun else "models.download", language)
            updates[card.start] = gr.update(visible=place.downloadable and not running, value=text)
            updates[card.stop] = gr.update(visible=running)
        return updates

    def _event(self, spec: ModelSpec) -> Event | None:
        """How far a model's download is; None if nobody has asked for it."""
        downloads = self.studio.downloads
        job = downloads.get().job(spec.id) if downloads is not None and downloads.ready else None
        return job.state if job is not None else None

    def _memory(self, spec: ModelSpec, language: str) -> str:
        """What a model's weights take in memory, and whether they may here."""
        if not self.studio.started:
            return f"{size(spec.bytes_in('float32'))} (float32)"
        registry = self.studio.registry
        needed = spec.bytes_in(registry.dtype)
        told = f"{size(needed)} ({registry.dtype})"
        if needed <= registry.limit_bytes:
            return told
        return f"{told} · {t('models.too_large', language, limit=size(registry.limit_bytes))}"


def draw_models(studio: Studio) -> ModelsDrawer:
    """The drawer, closed, with a card for each model of the catalogue, and for each that steers one of them and is on
    a hub: those of the little world come with it."""
    with draw_drawer("models", "models.title") as drawer:
        gr.HTML(label("models.intro"), elem_classes="studio-drawer-intro")
        alert = antd.Alert(message="", type="error", show_icon=True, visible=False, elem_classes="studio-alert")
        bases = [spec for family in studio.catalog for spec in family.specs if spec.kind == "base"]
        steering = [spec for control in studio.controls for spec in control.specs if spec.download_bytes]
        cards = tuple(_draw_card(spec, studio.downloads is not None) for spec in (*bases, *steering))
    return ModelsDrawer(studio, drawer, alert, cards)


def _draw_card(spec: ModelSpec, downloads: bool) -> Card:
    """One model's place."""
    with gr.Column(elem_classes="studio-model", elem_id=f"model-{spec.id}"):
        facts = gr.HTML()
        if not downloads or not spec.download_bytes:
            return Card(spec, facts)
        with gr.Row(elem_classes="studio-actions"):
            start = gr.Button(label("models.download"), visible=False, size="sm", variant="primary", min_width=120)
            stop = gr.Button(label("models.stop"), visible=False, size="sm", min_width=90)
    return Card(spec, facts, start, stop)


def _percent(event: Event | None) -> int:
    if not isinstance(event, Downloading):
        return 0
    return 100 * event.done_bytes // max(event.total_bytes, 1)


def _facts(place: Place, event: Event | None, memory: str, language: str) -> str:
    """What one model is, as HTML."""
    spec = place.spec
    rows = {
        "models.pictures": plain(f"{spec.native_size} × {spec.native_size}"),
        "models.on_disk" if place.present else "models.to_download": plain(size(place.bytes or spec.download_bytes)),
        "models.memory": plain(memory),
        "models.license": _license(spec),
        "models.source": plain(_source(place, language)),
    }
    listed = "".join(f"<dt>{plain(t(key, language))}</dt><dd>{value}</dd>" for key, value in rows.items() if value)
    kind, state = _state(place, event, language)
    return (
        f'<h3>{plain(spec.name)} <span class="studio-tag studio-tag-{kind}">{plain(state)}</span></h3>'
        f"<p>{plain(t(f'model.{spec.id}.about', language))}</p>"
        f'<dl class="studio-facts">{listed}</dl>{_note(place, event, language)}'
    )


def _license(spec: ModelSpec) -> str:
    """The licence's name, which leads to its text."""
    if not spec.license_url:
        return plain(spec.license)
    address = plain(spec.license_url)
    return f'<a href="{address}" target="_blank" rel="noopener noreferrer">{plain(spec.license)}</a>'


def _source(place: Place, language: str) -> str:
    """Where a model comes from, with the commit of one that was downloaded."""
    source = place.source or next((one for one in place.spec.sources if one.hub != "local"), None)
    if source is None or source.hub == "local":
        return t("models.own_folder", language)
    commit = source.revision[:REVISION_CHARACTERS] if place.source is not None else source.revision
    return f"{source.repo} @ {commit}"


def _state(place: Place, event: Event | None, language: str) -> tuple[str, str]:
    """The class of the tag, and its word."""
    if place.present:
        return "holds", t("models.here", language)
    if isinstance(event, Queued | Downloading):
        return "comes", t("models.coming", language)
    assert place.problem is not None
    if place.problem.key in ABSENT and place.source is None:
        return "absent", t("models.absent", language)
    return "fails", t("models.broken", language)


def _note(place: Place, event: Event | None, language: str) -> str:
    """How far a download is or why it ended, else what is wrong with the files."""
    match event:
        case Downloading(done_bytes=done, total_bytes=total, file=file):
            values = {"done": size(done), "total": size(total), "percent": _percent(event), "file": file}
            text = t("models.downloading", language, **values)
        case Queued():
            text = t("models.queued", language)
        case Stopped():
            text = t("models.stopped", language)
        case Failed(error=StudioError() as error):
            text = describe(error, language)
        case _ if place.problem is not None and not (place.problem.key in ABSENT and place.downloadable):
            text = describe(place.problem, language)
        case _:
            text = ""
    if not text or place.present:
        return ""
    bar = progress_bar(_percent(event), place.spec.name) if isinstance(event, Queued | Downloading) else ""
    return f'<p class="studio-model-note" role="status">{plain(text)}</p>{bar}'
