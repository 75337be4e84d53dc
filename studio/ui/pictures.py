"""The pictures of a generation: growing while it denoises, then with what they cost and what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.processing_utils import save_pil_to_cache

from studio.engine.entry import steps_of
from studio.engine.infotext import labelled
from studio.events import Event, GenerationResult, Step
from studio.settings import ROOT
from studio.text import t
from studio.types import MAX_IMAGES
from studio.ui.services import Services
from studio.ui.text import label
from studio.ui.widgets import plain
from studio.ui.workspace import Actions, draw_actions

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.perception.measure import Mark

Updates = dict[Any, Any]
# Noise on the left turns into a little beach on the right: what the studio does.
EMPTY_PICTURE = (ROOT / "assets" / "empty.svg").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Tile:
    """The place of one picture, of the words under it, and of what can be done with it once it is finished."""

    column: gr.Column
    image: gr.Image
    caption: gr.HTML
    actions: Actions


@dataclass(frozen=True)
class Pictures:
    """Where the pictures of a generation appear. `note` says what concerns all of them."""

    empty: gr.Column
    tiles: tuple[Tile, ...]
    numbers: gr.HTML
    note: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        parts = [part for tile in self.tiles for part in (tile.column, tile.image, tile.caption, tile.actions.bar)]
        return [self.empty, *parts, self.numbers, self.note]

    def preview(self, event: Event) -> Updates:
        """Show a step's previews; any other event changes nothing."""
        if not isinstance(event, Step) or not event.previews:
            return {}
        hidden = {tile.caption: "" for tile in self.tiles} | self._actions(visible=False)
        return {**self._images(event.previews), **hidden, self.numbers: "", self.note: ""}

    def finished(self, result: GenerationResult, language: str, note: str) -> Updates:
        """Show the pictures and what they cost; note: what concerns all of them."""
        timings = result.timings
        seconds = timings.encode_seconds + timings.denoise_seconds + timings.decode_seconds
        rate = steps_of(result.request) / timings.denoise_seconds if timings.denoise_seconds else 0.0
        values = {
            "seconds": f"{seconds:.2f} s",
            "steps_per_second": f"{rate:.1f}",
            "memory": f"{result.peak_bytes / 2**20:,.0f} MB",
        }
        captions = {
            tile.caption: _caption(t("text2img.seed_of", language, seed=result.request.seed + index))
            for index, tile in enumerate(self.tiles)
        }
        told = {self.numbers: _numbers(values, language), self.note: plain(note), **self._actions(visible=True)}
        return {**self._images(labelled(result)), **captions, **told}

    def measured(self, result: GenerationResult, marks: Sequence[Sequence[Mark]], language: str, note: str) -> Updates:
        """Write under each picture which of the prompt's wishes it fulfils, and below all how far to trust that."""
        updates: Updates = {self.note: plain(f"{note} {_small_print(marks, language)}")}
        for index, (tile, own) in enumerate(zip(self.tiles, marks, strict=False)):
            seed = t("text2img.seed_of", language, seed=result.request.seed + index)
            updates[tile.caption] = _caption(seed, "".join(mark_tag(mark, language) for mark in own))
        return updates

    def connect(self, services: Services) -> None:
        """Wire what can be done with each picture."""
        for tile in self.tiles:
            tile.actions.connect(services, tile.image)

    def _actions(self, visible: bool) -> Updates:
        return {tile.actions.bar: gr.update(visible=visible) for tile in self.tiles}

    def _images(self, images: Sequence[Any]) -> Updates:
        updates: Updates = {self.empty: gr.update(visible=False)}
        for index, tile in enumerate(self.tiles):
            shown = index < len(images)
            updates[tile.column] = gr.update(visible=shown)
            updates[tile.image] = _saved(images[index], tile.image) if shown else None
        return updates


def draw_pictures(prefix: str = "", hint: str = "text2img.empty_hint") -> Pictures:
    """The empty state, the places of the pictures, and the numbers below them.

    prefix: of their ids on the page; hint: the text that says how to begin.
    """
    with gr.Column(elem_classes="studio-empty") as empty:
        gr.HTML(EMPTY_PICTURE)
        gr.HTML(label("text2img.empty"), elem_classes="studio-empty-title")
        gr.HTML(label(hint))
    tiles = []
    with gr.Row(elem_classes="studio-tiles"):
        for index in range(MAX_IMAGES):
            with gr.Column(visible=False, min_width=120, elem_classes="studio-tile") as column:
                image = gr.Image(
                    format="png",
                    show_label=False,
                    interactive=False,
                    container=False,
                    buttons=["download", "fullscreen"],
                    elem_id=f"{prefix}picture-{index + 1}",
                )
                caption = gr.HTML(elem_classes="studio-caption")
                actions = draw_actions(f"{prefix}picture-{index + 1}")
            tiles.append(Tile(column, image, caption, actions))
    note = gr.HTML(elem_classes="studio-note")
    # Not antd's own part: it loses a value that comes while it is still loading.
    return Pictures(empty, tuple(tiles), gr.HTML(), note)


def _saved(picture: Image, place: gr.Image) -> str:
    """The file of a picture, written here and so once: gradio would write it anew for each time that an event is told,
    also while a browser reads it."""
    return save_pil_to_cache(picture, place.GRADIO_CACHE, format="png")


def _numbers(values: Mapping[str, str], language: str) -> str:
    """Names and values, each below its name."""
    pairs = ((t(f"text2img.{name}", language), value) for name, value in values.items())
    listed = "".join(f"<div><dt>{plain(name)}</dt><dd>{plain(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="studio-numbers">{listed}</dl>'


def _caption(seed: str, tags: str = "") -> str:
    return f'<div class="studio-tags">{tags}</div><div class="studio-seed-of">{plain(seed)}</div>'


def mark_tag(mark: Mark, language: str) -> str:
    """One wish, fulfilled or not, by sign as well as by colour."""
    kind, sign = ("holds", "✓") if mark.holds else ("fails", "✗")
    title = t("text2img.mark_title", language, confidence=f"{mark.confidence:.0%}", ceiling=f"{mark.ceiling:.0%}")
    text = mark.labels[language]
    return f'<span class="studio-tag studio-tag-{kind}" title="{plain(title)}">{plain(text)} {sign}</span>'


def _small_print(marks: Sequence[Sequence[Mark]], language: str) -> str:
    """How far the marks can be trusted, or that there is nothing to mark."""
    ceilings = [mark.ceiling for own in marks for mark in own]
    if not ceilings:
        return t("text2img.nothing_to_measure", language)
    return t("text2img.ceiling", language, ceiling=f"{min(ceilings):.1%}")
