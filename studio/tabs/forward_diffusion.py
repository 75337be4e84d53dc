"""The maths page: noise and the way back, guidance on the plane, every formula with a light, and the errata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from studio.errors import InvalidInput, StudioError
from studio.tabs.maths.checked import draw_errata, draw_lights
from studio.tabs.maths.codes import draw_codes
from studio.tabs.maths.confusion import draw_confusion
from studio.tabs.maths.families import draw_families
from studio.tabs.maths.forward import Forward, draw_forward
from studio.tabs.maths.guidance import draw_guidance
from studio.tabs.maths.page import asked
from studio.tabs.maths.plane import draw_plane
from studio.tabs.maths.reverse import draw_reverse
from studio.tabs.maths.riddles import draw_riddles
from studio.tabs.maths.training import draw_training
from studio.types import Tab
from studio.ui.endpoint import Answer, offer
from studio.ui.services import Services
from studio.ui.text import label, language_of

NAME = "forward_diffusion"


def build(services: Services) -> None:
    """Draw the sections and wire them; one that is not open is neither drawn by the browser nor computed."""
    with gr.Tabs(elem_classes="maths-tabs"):
        with gr.Tab(label("maths.section.forward"), id="maths-forward"):
            forward = draw_forward()
        with gr.Tab(label("maths.section.lights"), id="maths-lights") as opened_lights:
            lights = draw_lights()
        with gr.Tab(label("maths.section.plane"), id="maths-plane") as opened_plane:
            plane = draw_plane()
            guidance = draw_guidance(plane.alert)
            confusion = draw_confusion(services)
        with gr.Tab(label("maths.section.reverse"), id="maths-reverse") as opened_reverse:
            reverse = draw_reverse(services)
        with gr.Tab(label("maths.section.riddles"), id="maths-riddles"):
            riddles = draw_riddles()
        with gr.Tab(label("maths.section.training"), id="maths-training"):
            training = draw_training()
        with gr.Tab(label("maths.section.families"), id="maths-families"):
            families = draw_families()
        with gr.Tab(label("maths.section.codes"), id="maths-codes") as opened_codes:
            codes = draw_codes()
        with gr.Tab(label("maths.section.errata"), id="maths-errata") as opened_errata:
            errata = draw_errata()
    forward.connect(services)
    lights.connect(forward.values, opened_lights)
    plane.connect(opened_plane)
    guidance.connect(services)
    confusion.connect(opened_plane)
    reverse.connect(services, opened_reverse)
    riddles.connect(services)
    training.connect(services)
    families.connect(services)
    codes.connect(services, opened_codes)
    errata.connect(opened_errata)
    publish(forward)


def publish(fields: Forward) -> None:
    """Offer the noised picture to programs, as the endpoint /forward."""

    def forward(request: gr.Request, image: Any, schedule: str, T: int, t: int, seed: int) -> Iterator[Answer]:
        """Noise a picture to one time of the forward process, in one jump.

        Args:
            image: The picture: PNG, JPEG, WebP, or the first frame of a GIF; its middle square is taken at 256 pixels.
            schedule: One of linear, scaled_linear, cosine, sigmoid.
            T: How many steps the schedule has, from 1 to 4000.
            t: The time, from 0, the first noising, to T - 1.
            seed: The same seed gives the same noise.

        Returns:
            The noised picture, and its numbers.
        """
        try:
            yield noised_at(image, schedule, T, t, seed)
        except StudioError as error:
            raise gr.Error(error.message(language_of(request)), print_exception=False) from error

    offer(forward, [fields.image, fields.schedule, fields.length, fields.time, fields.seed])


def noised_at(image: Any, schedule: object, T: object, t: object, seed: object) -> Answer:
    """A noised picture and its numbers. Raises InvalidInput that names the field."""
    from studio.engine.noising import noised

    if image is None:
        raise InvalidInput("needs_image", field="image")
    wish = asked(image, schedule, T, False, seed, t)
    found = noised(wish.x0(), wish.schedule, wish.t, wish.seed)
    facts = {name: value for name, value in asdict(found).items() if name not in ("picture", "counts")}
    return found.picture, {"t": wish.t, "T": wish.schedule.T, "schedule": wish.schedule.name, **facts}


TAB = Tab(id=NAME, order=60, build=build)
