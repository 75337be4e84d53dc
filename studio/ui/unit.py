"""One unit of control: a kind, a picture and how its map is found, the map to be changed by hand, and its dose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from studio.errors import InvalidInput, StudioError
from studio.text import t
from studio.types import MAX_CONTROL_SCALE, ControlUse, Param
from studio.ui import antd
from studio.ui.brush import draw_brush, drawn_on
from studio.ui.found import OWN, TRUE, Found, Size, Wanted, find_map, new_scene
from studio.ui.services import Services
from studio.ui.skeleton import draw_skeleton, resized
from studio.ui.source import uploaded
from studio.ui.text import describe, label, language_of
from studio.ui.uses import missing_model, place_of
from studio.ui.widgets import INSTANT, KNOB_WIDTH
from studio.world.maps import MAP_KINDS, MapKind
from studio.world.skeleton import write_skeletons

if TYPE_CHECKING:
    from studio.build import Studio

Updates = dict[Any, Any]
HEIGHT = 240
"""In pixels, of the place for the picture."""
PENS = (1, 1, 8)
"""In pixels of a map of edges: the thinnest line, the usual one and the thickest."""


@dataclass(frozen=True)
class Unit:
    """scene: the seed of a scene that the studio has rendered, or None; edges, posed, plain: where maps are shown."""

    number: int
    on: gr.Checkbox
    kind: gr.Radio
    source: gr.Image
    render: gr.Button
    history: gr.Button
    scene: gr.State
    way: gr.Dropdown
    thresholds: gr.Row
    low: gr.Slider
    high: gr.Slider
    alert: antd.Alert
    edges: gr.HTML
    posed: gr.Column
    skeleton: gr.HTML
    plain: gr.Image
    doses: Mapping[str, gr.Slider]

    @property
    def fields(self) -> dict[str, Any]:
        """Its widgets by the names under which a wish takes them."""
        own = {"on": self.on, "kind": self.kind, "way": self.way, "edges": self.edges}
        own |= {"skeleton": self.skeleton, "plain": self.plain, **self.doses}
        return {f"unit{self.number}_{name}": widget for name, widget in own.items()}

    @property
    def shown(self) -> list[Any]:
        """Where a map and what is to be said of it appear."""
        return [self.alert, self.edges, self.posed, self.skeleton, self.plain, self.thresholds]

    @property
    def refilled(self) -> list[Any]:
        """What a picture tells of the unit that steered it."""
        return [self.on, self.kind, *self.doses.values()]

    def updates(self, use: ControlUse | None) -> Updates:
        """The unit as it was used, or off."""
        if use is None:
            return {self.on: False}
        doses = {widget: getattr(use, name) for name, widget in self.doses.items()}
        return {self.on: True, self.kind: use.control_id, **doses}

    def connect(self, services: Services, fields: Mapping[str, Any]) -> None:
        """Wire it. fields: the page's own, with `prompt`, `width`, `height` and `base_id`."""
        studio, size = services.studio, [fields["width"], fields["height"]]
        looked = [self.source, self.kind, self.way, self.scene, self.low, self.high, *size, fields["base_id"]]
        looked.append(self.skeleton)

        def look(request: gr.Request, *values: Any) -> Updates:
            return self.look(studio, language_of(request), *values)

        def turn(request: gr.Request, kind: MapKind, scene: int | None) -> Updates:
            return {self.way: self.ways(studio, kind, scene, language_of(request))}

        def rendered(request: gr.Request, kind: MapKind, width: float, height: float) -> Updates:
            language = language_of(request)
            seed, picture, caption = new_scene(kind, (int(width), int(height)), language)
            way = self.ways(studio, kind, seed, language)
            return {self.scene: seed, self.source: picture, fields["prompt"]: caption, self.way: way, self.on: True}

        self.render.click(
            rendered, [self.kind, *size], [self.scene, self.source, fields["prompt"], self.way, self.on], **INSTANT
        )
        self.history.click(lambda: gr.update(selected="history"), None, services.tabs, **INSTANT)
        self.source.upload(lambda: None, None, self.scene, **INSTANT).then(
            turn, [self.kind, self.scene], self.way, **INSTANT
        )
        self.kind.change(turn, [self.kind, self.scene], self.way, **INSTANT)
        for widget in (self.source, self.kind, self.way, self.low, self.high, *size):
            widget.change(look, looked, self.shown, preprocess=False, trigger_mode="always_last", **INSTANT)

        def check(request: gr.Request, kind: MapKind, base_id: object) -> Updates:
            return {self.alert: _said(missing_model(studio, kind, base_id), language_of(request))}

        # Without a look at the picture: what was changed by hand stays.
        for event in (services.tab.select, fields["base_id"].change):
            event(check, [self.kind, fields["base_id"]], self.alert, **INSTANT)

    def ways(self, studio: Studio, kind: MapKind, scene: int | None, language: str) -> Any:
        """How a map of a kind can be found: an update of the choice. What cannot be used now says so when chosen."""
        found = [one.id for one in studio.detectors.of(kind)]
        offered = [*([TRUE] if scene is not None else []), *found, OWN]
        return gr.update(choices=[(t(_key_of(way), language), way) for way in offered], value=offered[0])

    def look(
        self,
        studio: Studio,
        language: str,
        source: Any,
        kind: MapKind,
        way: str,
        scene: int | None,
        low: Any,
        high: Any,
        width: Any,
        height: Any,
        base_id: Any,
        posed: str,
    ) -> Updates:
        """The map of what is chosen now, or why there is none."""
        finders = [one.id for one in studio.detectors.of(kind)]
        way = way if way in (OWN, TRUE, *finders) else finders[0]  # the choice follows the kind a moment later
        options = {"low": low, "high": high} if way == "canny" else {}
        wanted = Wanted(kind, way, scene, (int(width), int(height)), options)
        updates = self._places(kind, way)
        try:
            found = None if source is None else find_map(studio, wanted, uploaded(source, "map"))
            updates |= self._filled(wanted, found, posed)
        except StudioError as error:
            return {**updates, self.alert: _said(error, language)}
        return {**updates, self.alert: _said(missing_model(studio, kind, base_id), language)}

    def _places(self, kind: MapKind, way: str) -> Updates:
        """Show the place for such a map, and hide the others."""
        place = place_of(kind, way)
        return {
            self.edges: gr.update(visible=place == "edges"),
            self.posed: gr.update(visible=place == "skeleton"),
            self.plain: gr.update(visible=place == "plain"),
            self.thresholds: gr.update(visible=way == "canny"),
        }

    def _filled(self, wanted: Wanted, found: Found | None, posed: str) -> Updates:
        """A map in its place. Without a picture there is none, but a skeleton stays, on the new canvas."""
        match place_of(wanted.kind, wanted.way):
            case "edges":
                sheet = found.map if found else Image.new("RGB", wanted.size)
                return {self.edges: gr.update(value=drawn_on(sheet), visible=True)}
            case "plain":
                return {self.plain: gr.update(value=found.map if found else None, visible=True)}
            case _:
                text = resized(posed, *wanted.size) if found is None else _text_of(found, wanted.size)
                return {self.skeleton: text}


def _said(problem: StudioError | None, language: str) -> Any:
    """An update of the alert."""
    return gr.update(visible=problem is not None, message="" if problem is None else describe(problem, language))


def _text_of(found: Found, size: Size) -> str:
    """Found skeletons as the editor's value. Raises InvalidInput where there is nobody."""
    if not found.skeletons:
        raise InvalidInput("nobody_found", field="map")
    return write_skeletons(found.skeletons, *size)


def _key_of(way: str) -> str:
    """Under which a way to a map is named."""
    return f"controlnet.way.{way}" if way in (OWN, TRUE) else f"detector.{way}"


def draw_unit(number: int, kind: MapKind, studio: Studio, size: Size, prefix: str) -> Unit:
    """The widgets of the unit with a number, from 1; the first is on. prefix: of their ids on the page."""
    name = f"{prefix}-{number}"
    with gr.Row(elem_classes="studio-unit-head"):
        on = gr.Checkbox(number == 1, label=label("controlnet.on"), container=False, min_width=80, elem_id=f"{name}-on")
        kinds = [(label(f"controlnet.kind.{one}"), one) for one in MAP_KINDS]
        chosen = gr.Radio(kinds, value=kind, show_label=False, container=False, min_width=220, elem_id=f"{name}-kind")
    with gr.Row(elem_classes="studio-unit"):
        with gr.Column(min_width=240):
            source, render, history, way, thresholds, sliders = _draw_source(name, kind, studio)
        with gr.Column(min_width=240):
            alert = antd.Alert(
                message="", type="warning", show_icon=True, visible=False, elem_id=f"{name}-alert",
                elem_classes="studio-alert",
            )  # fmt: skip
            gr.HTML(label("controlnet.map"), elem_classes="studio-unit-title")
            drawn = place_of(kind, "") == "edges"
            edges = draw_brush(f"{name}-edges", "edges", "white", "black", PENS, under=False, visible=drawn)
            with gr.Column(visible=place_of(kind, "") == "skeleton", elem_classes="studio-stack") as posed:
                skeleton = draw_skeleton(name, *size)
            plain = gr.Image(
                format="png", interactive=False, show_label=False, height=HEIGHT, label=label("controlnet.map"),
                visible=place_of(kind, "") == "plain", elem_id=f"{name}-map", elem_classes="studio-source",
            )  # fmt: skip
    doses = _draw_doses(name)
    low, high = sliders
    shown = (alert, edges, posed, skeleton, plain)
    return Unit(number, on, chosen, source, render, history, gr.State(None), way, thresholds, low, high, *shown, doses)


def _draw_source(
    name: str, kind: MapKind, studio: Studio
) -> tuple[gr.Image, gr.Button, gr.Button, gr.Dropdown, gr.Row, list[gr.Slider]]:
    """The picture, and how its map is found."""
    source = gr.Image(
        sources=["upload", "clipboard"], image_mode=None, type="filepath", format="png", height=HEIGHT,
        label=label("source.image"), show_label=False, buttons=["fullscreen"], elem_id=f"{name}-source",
        elem_classes="studio-source",
    )  # fmt: skip
    with gr.Row(elem_classes="studio-examples"):
        render = gr.Button(label("source.scene"), size="sm", min_width=0, scale=0, elem_id=f"{name}-scene")
        history = gr.Button(label("source.history"), size="sm", min_width=0, scale=0, elem_id=f"{name}-history")
    ways = [(label(_key_of(one.id)), one.id) for one in studio.detectors.of(kind)]
    way = gr.Dropdown(
        [*ways, (label(_key_of(OWN)), OWN)], value=ways[0][1], label=label("controlnet.way"),
        elem_id=f"{name}-way",
    )  # fmt: skip
    (canny,) = studio.detectors.of("canny")
    with gr.Row(visible=kind == "canny") as thresholds:
        sliders = [_slider(name, param) for param in canny.params]
    return source, render, history, way, thresholds, sliders


def _slider(name: str, param: Param) -> gr.Slider:
    """A detector's knob."""
    bounds = (param.minimum, param.maximum, param.default)
    said = label(f"detector.param.{param.name}")
    return gr.Slider(*bounds, step=param.step, label=said, min_width=120, elem_id=f"{name}-{param.name}")


def _draw_doses(name: str) -> dict[str, gr.Slider]:
    """How strongly a map steers, and during which share of the steps."""
    bounds = {"scale": (MAX_CONTROL_SCALE, 1.0), "start": (1, 0.0), "end": (1, 1.0)}
    with gr.Row():
        return {
            dose: gr.Slider(
                0,
                most,
                usual,
                step=0.05,
                label=label(f"controlnet.{dose}"),
                min_width=KNOB_WIDTH,
                elem_id=f"{name}-{dose}",
            )
            for dose, (most, usual) in bounds.items()
        }
