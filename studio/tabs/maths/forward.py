"""Forward: a picture becomes noise, at any time at once, and everything about it that can be said in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from PIL import Image

from studio.engine.latent_noising import LatentNoising
from studio.errors import InvalidInput, StudioError
from studio.tabs.maths import page
from studio.tabs.maths.forward_views import compared, filmstrips, live, overlaid, shown_latents
from studio.tabs.maths.page import Asked, accepted, asked, refused
from studio.tabs.maths.work import streamed
from studio.text import t as text
from studio.types import GenerationRequest, Scheduler, Task
from studio.ui import antd
from studio.ui.run import owner_of
from studio.ui.scrub import Scrub
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import INSTANT, KNOB_WIDTH, card

Updates = dict[Any, Any]
SCHEDULES = ("linear", "scaled_linear", "cosine", "sigmoid", "drawn")
DRAWN = (0.85, 0.5, 0.15, 0.0)
"""alpha_bar at a quarter, a half, three quarters and the end, until a person draws."""
T, MAX_T, TIME = 1000, 4000, 250
LATENT_FRAMES, FILM_FRAMES, FILM_SIDE = 8, 24, 192


@dataclass(frozen=True)
class Forward:
    """The widgets. values: what `asked` takes, in its order."""

    image: gr.Image
    scene: gr.Button
    newest: gr.Button
    schedule: gr.Dropdown
    length: gr.Number
    zero: gr.Checkbox
    seed: gr.Number
    time: gr.Slider
    points: tuple[gr.Slider, ...]
    drawing: gr.Row
    alert: antd.Alert
    scrub: Scrub[tuple[Asked, str]]
    live: gr.HTML
    curves: gr.HTML
    strip: gr.HTML
    walk: gr.Button
    latent: gr.Button
    film: gr.Button
    found: gr.HTML
    file: gr.File

    @property
    def values(self) -> list[Any]:
        return [self.image, self.schedule, self.length, self.zero, self.seed, self.time, *self.points]

    def connect(self, services: Services) -> None:
        """Wire it: the slider changes one part of the page, while it is dragged by `scrub`; all else changes all."""
        raw = {"inputs": self.values, "preprocess": False}
        self.time.release(self.move, **raw, outputs=[self.alert, self.live], trigger_mode="always_last", **INSTANT)
        everything = [self.alert, self.time, self.drawing, self.live, self.curves, self.strip]
        changed = [widget.change for widget in (self.image, self.schedule, self.length, self.zero, self.seed)]
        for event in (*changed, *(point.release for point in self.points), services.tab.select):
            event(self.redraw, **raw, outputs=everything, trigger_mode="always_last", **INSTANT)
        self.scene.click(render_scene, None, self.image, **INSTANT)
        newest = told(lambda owner: newest_picture(services, owner_of(owner)))
        self.newest.click(newest, services.owner, self.image, **INSTANT)
        private = {**raw, "show_progress": "minimal", "api_visibility": "private"}
        self.walk.click(self.compare, outputs=[self.alert, self.found], **private)
        self.film.click(self.filmed, outputs=[self.alert, self.file], **private)
        latent = {**raw, "inputs": [services.owner, *self.values], "show_progress": "hidden"}

        def in_latents(request: gr.Request, owner: object, *values: object) -> Iterator[Updates]:
            yield from self.encoded(services, request, owner, *values)

        self.latent.click(
            in_latents, **latent, outputs=[self.alert, self.found], concurrency_limit=None, api_visibility="private"
        )

    def shown(self, wish: Asked, language: str) -> str:
        """The picture at its time, to be moved on from there."""
        return self.scrub.keep((wish, language), wish.t)

    def move(self, request: gr.Request, *values: object) -> Updates:
        """The picture at the slider's time."""
        language = language_of(request)
        try:
            return {self.alert: accepted(), self.live: self.shown(asked(*values), language)}
        except StudioError as error:
            return {self.alert: refused(error, language)}

    def redraw(self, request: gr.Request, *values: Any) -> Updates:
        """Everything, with the time kept within the schedule's length."""
        language, given = language_of(request), list(values)
        drawing = {self.drawing: gr.update(visible=values[1] == "drawn")}
        length, now = values[2], values[5]
        if is_length(length) and isinstance(now, int | float):
            given[5] = max(0, min(int(now), int(length) - 1))
        try:
            wish = asked(*given)
        except StudioError as error:
            return {self.alert: refused(error, language), **drawing}
        return {
            self.alert: accepted(),
            self.time: gr.update(maximum=max(1, wish.schedule.T - 1), value=wish.t),
            **drawing,
            self.live: self.shown(wish, language),
            self.curves: overlaid(wish, language),
            self.strip: filmstrips(wish, language),
        }

    def compare(self, request: gr.Request, *values: object) -> Updates:
        """Step by step beside the jump."""
        language = language_of(request)
        try:
            return {self.alert: accepted(), self.found: compared(asked(*values), language)}
        except StudioError as error:
            return {self.alert: refused(error, language)}

    def filmed(self, request: gr.Request, *values: object) -> Updates:
        """The way to noise as files to keep: a GIF, and an MP4 where one can be written."""
        from studio.engine.films import gif, mp4
        from studio.engine.noising import filmstrip

        language = language_of(request)
        try:
            wish = asked(*values)
        except StudioError as error:
            return {self.alert: refused(error, language)}
        large, small = (
            filmstrip(wish.x0(side), wish.schedule, FILM_FRAMES, wish.seed) for side in (page.SIDE, FILM_SIDE)
        )
        name = f"noise-{wish.schedule.name.split(',')[0]}"
        made = ((f"{name}.gif", gif(large)), (f"{name}.mp4", mp4(small)))
        paths = [save_bytes_to_cache(data, file, self.file.GRADIO_CACHE) for file, data in made if data is not None]
        told = text("maths.file" if len(paths) == len(made) else "maths.file_gif", language)
        return {self.alert: accepted(), self.file: gr.update(value=paths, visible=True, label=told)}

    def encoded(self, services: Services, request: gr.Request, owner: object, *values: object) -> Iterator[Updates]:
        """The same in the latents of the first model that is offered."""

        def work() -> LatentNoising:
            return LatentNoising(latent_request(services, asked(*values)), LATENT_FRAMES)

        yield from streamed(services, owner, language_of(request), work, shown_latents, (self.alert, self.found))


def draw_forward() -> Forward:
    """The widgets, in two columns; on a phone below each other."""
    with gr.Column(elem_classes="studio-halves"):
        with gr.Column(elem_classes="studio-half"), card("maths.card.settings", "maths"):
            image = gr.Image(
                sources=["upload", "clipboard"],
                image_mode=None,
                type="filepath",
                format="png",
                height=220,
                label=label("source.image"),
                show_label=False,
                buttons=["fullscreen"],
                elem_id="forward-source",
                elem_classes="studio-source",
            )
            with gr.Row(elem_classes="studio-examples"):
                scene = gr.Button(label("source.scene"), size="sm", min_width=0, scale=0, elem_id="forward-scene")
                newest = gr.Button(label("maths.newest"), size="sm", min_width=0, scale=0, elem_id="forward-newest")
            alert = antd.Alert(message="", elem_id="forward-refused", **page.ALERT)
            schedule, length, zero, seed, drawing, points = _knobs()
        with gr.Column(elem_classes="studio-half"), card("maths.card.noised", "maths"):
            time = gr.Slider(0, T - 1, TIME, step=1, label=label("maths.t"), elem_id="forward-t")
            scrub = Scrub(at_time)
            live = scrub.place("forward-t", "forward-live")
            with gr.Row(elem_classes="studio-examples"):
                walk, latent, film = (
                    gr.Button(label(f"maths.{name}"), size="sm", min_width=0, scale=0, elem_id=f"forward-{name}")
                    for name in ("walk", "latent", "film")
                )
            found = gr.HTML(elem_id="forward-found")
            file = gr.File(visible=False, file_count="multiple", label=label("maths.file"), elem_id="forward-file")
    with card("maths.card.schedules", "maths"):
        page.formula("maths.forward_formula")
        curves = gr.HTML(elem_id="forward-curves")
        strips = gr.HTML(elem_id="forward-strip")
    return Forward(
        image, scene, newest, schedule, length, zero, seed, time, points, drawing, alert, scrub, live, curves, strips,
        walk, latent, film, found, file,
    )  # fmt: skip


def _knobs() -> tuple[gr.Dropdown, gr.Number, gr.Checkbox, gr.Number, gr.Row, tuple[gr.Slider, ...]]:
    """What the schedule is made of."""
    with gr.Row():
        schedule = gr.Dropdown(
            [(label(f"maths.schedule.{name}"), name) for name in SCHEDULES],
            value="cosine",
            label=label("maths.schedule"),
            min_width=KNOB_WIDTH,
            elem_id="forward-schedule",
        )
        length = gr.Number(T, precision=0, label=label("maths.T"), min_width=100, elem_id="forward-length")
    with gr.Row():
        zero = gr.Checkbox(False, label=label("maths.zero"), min_width=KNOB_WIDTH, elem_id="forward-zero")
        seed = gr.Number(page.USUAL_SEED, precision=0, label=label("text2img.seed"), min_width=100)
    with gr.Row(visible=False, elem_id="forward-drawing") as drawing:
        points = tuple(
            gr.Slider(0, 1, value, step=0.01, label=f"ᾱ({share:g} T)", min_width=KNOB_WIDTH)
            for share, value in zip((0.25, 0.5, 0.75, 1.0), DRAWN, strict=True)
        )
    return schedule, length, zero, seed, drawing, points


def at_time(wanted: tuple[Asked, str], t: object) -> str:
    """What was asked for, at another time. Raises InvalidInput."""
    from studio.engine.noising import whole

    wish, language = wanted
    return live(replace(wish, t=whole("t", t, 0, wish.schedule.T - 1)), language)


def told(handler: Any) -> Any:
    """A handler whose refusal becomes a message of the page."""

    def handle(request: gr.Request, *values: object) -> Any:
        try:
            return handler(*values)
        except StudioError as error:
            raise gr.Error(describe(error, language_of(request)), print_exception=False) from error

    return handle


def is_length(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= MAX_T


def render_scene() -> Image.Image:
    """A picture of the little world."""
    import numpy as np

    from studio.world.render import render_image
    from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

    seed = int(np.random.default_rng().integers(FIRST_HELD_OUT_SEED))
    return Image.fromarray(render_image(scene_of_seed(seed), page.SIDE))


def newest_picture(services: Services, owner: str) -> Image.Image:
    """The picture that this browser asked for last. Raises InvalidInput where there is none."""
    records = services.studio.store.list(owner, 1)
    if not records:
        raise InvalidInput("nothing_in_history", field="image")
    with Image.open(records[0].pictures[0].path) as picture:
        return picture.convert("RGB")


def latent_request(services: Services, wish: Asked) -> GenerationRequest:
    """A picture for the first model that is offered, at the size that it was trained on."""
    base_id, spec = next(iter(services.studio.specs_for(Task.IMAGE_TO_IMAGE).items()))
    side = spec.native_size
    picture = wish.picture.resize((side, side), Image.Resampling.LANCZOS)
    return GenerationRequest(
        base_id, "", wish.seed, Task.IMAGE_TO_IMAGE, width=side, height=side, init_image=picture,
        scheduler=Scheduler.DDIM,
    )  # fmt: skip
