"""The pictures that another one is drawn after: one to four with weights, and, for two, which part belongs to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import gradio as gr
from PIL import Image, ImageOps

from studio.engine.pictures import open_picture
from studio.errors import InvalidInput
from studio.types import MAX_SIDE, MIN_SIDE
from studio.ui.brush import draw_brush, laid_under
from studio.ui.paint import INK, SIDE, WIDTHS, mask_of, strokes_of
from studio.ui.services import Sent, Services
from studio.ui.source import uploaded
from studio.ui.text import label
from studio.ui.widgets import INSTANT

Updates = dict[Any, Any]
MOST = 4
MAX_WEIGHT, WEIGHT_STEP = 2.0, 0.05
HEIGHT = 132
"""In pixels, of the place for one reference."""
TOGETHER, LEFT_RIGHT, TOP_BOTTOM, PAINTED = DIVISIONS = ("together", "left_right", "top_bottom", "painted")
GREY = (190, 190, 190)
SHELF_COLUMNS = 6
NAMES = tuple(f"reference_{number}" for number in range(1, MOST + 1))
WEIGHTS = tuple(f"weight_{number}" for number in range(1, MOST + 1))


@dataclass(frozen=True)
class Slot:
    """The place of one reference and its weight."""

    column: gr.Column
    image: gr.Image
    weight: gr.Slider


@dataclass(frozen=True)
class References:
    """shelf: pictures that can be taken; division: which part of the picture belongs to which of two references; sheet:
    on which the first one's part is painted."""

    slots: tuple[Slot, ...]
    shelf: gr.Gallery
    history: gr.Button
    division: gr.Radio
    sheet: gr.HTML

    @property
    def fields(self) -> dict[str, Any]:
        """Its widgets by the names under which a wish takes them."""
        images = {name: slot.image for name, slot in zip(NAMES, self.slots, strict=True)}
        weights = {name: slot.weight for name, slot in zip(WEIGHTS, self.slots, strict=True)}
        return {**images, **weights, "division": self.division, "painted": self.sheet}

    def connect(self, services: Services, tab: str, pictures: Sequence[Image.Image], size: Sequence[Any]) -> None:
        """Wire it. tab: where sent pictures go; pictures: what lies on the shelf; size: widgets of width and height."""
        images = [slot.image for slot in self.slots]

        def receive(sent: Sent, *values: object) -> Updates:
            if sent.tab != tab or not sent.as_input:
                return {images[0]: gr.skip()}
            with Image.open(BytesIO(sent.data)) as picture:
                return self._taken(picture.convert("RGB"), values)

        def take(event: gr.SelectData, *values: object) -> Updates:
            return self._taken(pictures[event.index], values)

        raw = {"preprocess": False, **INSTANT}
        services.sent.change(receive, [services.sent, *images], images, **raw)
        self.shelf.select(take, images, images, **raw)
        self.history.click(lambda: gr.update(selected="history"), None, services.tabs, **INSTANT)
        shown = [*(slot.column for slot in self.slots), self.division, self.sheet]
        for image in images:
            image.change(self._shown, [*images, self.division], shown, **raw)
        self.division.change(self._paintable, [self.division, *size], self.sheet, **raw)

    def _taken(self, picture: Image.Image, values: Sequence[object]) -> Updates:
        """A picture in the first place that is free, else in the last one."""
        free = [place for place, value in enumerate(values) if value is None]
        return {self.slots[free[0] if free else -1].image: picture}

    def _shown(self, *values: object) -> Updates:
        """One more place than there are pictures; two can share the picture between them."""
        *images, division = values
        there = [value is not None for value in images]
        last = max((place for place, is_there in enumerate(there) if is_there), default=-1)
        columns = {slot.column: gr.update(visible=place <= last + 1) for place, slot in enumerate(self.slots)}
        two = sum(there) == 2
        shared = gr.update(visible=two) if two else gr.update(visible=False, value=TOGETHER)
        sheet = gr.skip() if two and division == PAINTED else gr.update(visible=False, value="")
        return {**columns, self.division: shared, self.sheet: sheet}

    def _paintable(self, division: object, width: object, height: object) -> Updates:
        """An empty sheet of the picture's shape where a part is to be painted."""
        if division != PAINTED:
            return {self.sheet: gr.update(visible=False, value="")}
        return {self.sheet: gr.update(visible=True, value=laid_under(ground(width, height)))}


@dataclass(frozen=True)
class Taken:
    """References as a request takes them. masks: one for each, white where it acts, or none."""

    pictures: tuple[Image.Image, ...]
    weights: tuple[float, ...]
    masks: tuple[Image.Image, ...] = ()


def taken(values: Mapping[str, Any], size: tuple[int, int]) -> Taken:
    """References from raw values, by the names of `References.fields`. Raises InvalidInput that names the field."""
    given = [(name, weight) for name, weight in zip(NAMES, WEIGHTS, strict=True) if values.get(name) is not None]
    if not given:
        raise InvalidInput("needs_image", field=NAMES[0])
    pictures = tuple(open_picture(uploaded(values[name], name), name).image for name, _ in given)
    weights = tuple(values.get(weight, 1.0) for _, weight in given)
    masks = divided(values.get("division"), values.get("painted"), size)
    if masks and len(pictures) != len(masks):
        raise InvalidInput("division_needs_two", field="division", value=len(pictures))
    return Taken(pictures, weights, masks)


def ground(width: object, height: object) -> Image.Image:
    """What is painted on: grey, as wide and high as the picture in proportion; square where that is no size."""
    sides = [
        side if isinstance(side, (int, float)) and MIN_SIDE <= side <= MAX_SIDE else SIDE for side in (width, height)
    ]
    scale = SIDE / max(sides)
    return Image.new("RGB", (round(sides[0] * scale), round(sides[1] * scale)), GREY)


def divided(division: Any, strokes: Any, size: tuple[int, int]) -> tuple[Image.Image, ...]:
    """The masks of two references, each white where it acts; none where both act everywhere. Raises InvalidInput.

    strokes: where the first one acts, if that is painted: a mask, or a sheet's value.
    """
    if division not in DIVISIONS:
        raise InvalidInput("not_a_choice", field="division", value=str(division)[:40], choices=", ".join(DIVISIONS))
    if division == TOGETHER:
        return ()
    width, height = size
    if division == PAINTED:
        first = mask_of(strokes if isinstance(strokes, Image.Image) else strokes_of(strokes), size)
    else:
        first = Image.new("L", size, 0)
        first.paste(255, (0, 0, width // 2, height) if division == LEFT_RIGHT else (0, 0, width, height // 2))
    return first, ImageOps.invert(first)


def draw_references(prefix: str, shelf: Sequence[Image.Image]) -> References:
    """The widgets. prefix: of their ids on the page; shelf: pictures that can be taken."""
    with gr.Row(elem_classes="studio-references"):
        slots = tuple(_draw_slot(prefix, number) for number in range(1, MOST + 1))
    gr.HTML(label("reference.shelf"), elem_classes="studio-note studio-shelf-title")
    gallery = gr.Gallery(
        list(shelf),
        columns=SHELF_COLUMNS,
        show_label=False,
        container=False,
        allow_preview=False,
        object_fit="cover",
        height="auto",
        buttons=[],
        interactive=False,
        elem_id=f"{prefix}-shelf",
        elem_classes="studio-shelf",
    )
    with gr.Row(elem_classes="studio-examples"):
        history = gr.Button(label("source.history"), size="sm", min_width=0, scale=0, elem_id=f"{prefix}-from-history")
    division = gr.Radio(
        [(label(f"reference.division.{name}"), name) for name in DIVISIONS],
        value=TOGETHER,
        label=label("reference.division"),
        visible=False,
        elem_id=f"{prefix}-division",
    )
    sheet = draw_brush(f"{prefix}-editor", "reference.sheet", INK, None, WIDTHS, under=True, visible=False)
    return References(slots, gallery, history, division, sheet)


def _draw_slot(prefix: str, number: int) -> Slot:
    with gr.Column(visible=number == 1, min_width=120, elem_classes="studio-reference") as column:
        image = gr.Image(
            sources=["upload", "clipboard"],
            image_mode=None,
            type="filepath",
            format="png",
            height=HEIGHT,
            label=label("reference.image"),
            show_label=False,
            buttons=[],
            elem_id=f"{prefix}-reference-{number}",
            elem_classes="studio-source",
        )
        weight = gr.Slider(
            0, MAX_WEIGHT, 1.0, step=WEIGHT_STEP, label=label("reference.weight"), min_width=100,
            elem_id=f"{prefix}-weight-{number}",
        )  # fmt: skip
    return Slot(column, image, weight)
