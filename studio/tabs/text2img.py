"""Text to image: a prompt becomes pictures, step by step, and each picture is measured against its prompt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.engine.generate import Generation
from studio.errors import InvalidInput, StudioError
from studio.events import Done, Event, GenerationResult
from studio.text import t
from studio.types import GenerationRequest, ModelSpec, Tab
from studio.ui.endpoint import Answer, offer, stream
from studio.ui.inside import draw_inside, inside_switch
from studio.ui.models import draw_model_choice
from studio.ui.pictures import Pictures, draw_pictures
from studio.ui.restore import draw_restore
from studio.ui.run import JobFlow, Updates, browser_state, draw_panel
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.widgets import INSTANT, card, prompt_box, random_seed, sampling, seed_fields
from studio.world.wish import phrases

if TYPE_CHECKING:
    from studio.build import Studio
    from studio.perception.measure import Mark

logger = logging.getLogger(__name__)

EXAMPLES = 5
# Fields that a browser or a program may send as 20.0 where 20 is meant.
WHOLE_FIELDS = ("width", "height", "num_inference_steps", "num_images", "seed")


def build(services: Services) -> None:
    """Draw the page and wire it."""
    with gr.Column(elem_classes="studio-board"):
        with card("text2img.card.prompt", "prompt"):
            texts, start, stop = _draw_prompt()
        with card("text2img.card.result", "result"):
            panel = draw_panel(start, stop)
            pictures = draw_pictures()
            inside = draw_inside(phrases())
        with card("text2img.card.settings", "settings"):
            fields = _draw_settings(services, texts)
    flow = JobFlow(
        services.studio,
        panel,
        services.owner,
        browser_state("text2img.job"),
        [*pictures.outputs, *inside.outputs],
        inside.beside(partial(show, services, pictures)),
    )
    specs = services.studio.specs

    def wish(keep_seed: object, inside: object, **values: object) -> tuple[Generation, Updates]:
        """A wish's work; its seed is written where it can be read."""
        if keep_seed is not True:
            values["seed"] = random_seed()
        request = request_of(specs, **values)
        return Generation(request, inside=inside is True), {fields["seed"]: request.seed}

    flow.connect(services.opening, fields, wish, [fields["seed"]])
    pictures.connect(services)
    publish(services, fields)


def _draw_prompt() -> tuple[dict[str, Any], gr.Button, gr.Button]:
    """The two texts, examples, and the buttons."""
    prompt = prompt_box("text2img.prompt", lines=3)
    with gr.Row(elem_classes="studio-examples"):
        for index in range(1, EXAMPLES + 1):
            key = f"text2img.example.{index}"
            chip = gr.Button(label(key), size="sm", min_width=0, scale=0)
            chip.click(_teller(key), None, prompt, **INSTANT)
        surprise = gr.Button(label("text2img.surprise"), size="sm", min_width=0, scale=0, elem_id="surprise")
    surprise.click(_surprise, None, prompt, **INSTANT)
    negative = prompt_box("text2img.negative_prompt", lines=1)
    with gr.Row(elem_classes="studio-actions"):
        start = gr.Button(label("text2img.generate"), variant="primary", min_width=120, scale=3, elem_id="generate")
        stop = gr.Button(label("text2img.stop"), interactive=False, min_width=80, scale=1, elem_id="stop")
    return {"prompt": prompt, "negative_prompt": negative}, start, stop


def _draw_settings(services: Services, texts: dict[str, Any]) -> dict[str, Any]:
    """The widgets of every other field, and the place that fills all of them. All fields by their names."""
    specs = services.studio.specs
    first = next(iter(specs.values()))
    model = draw_model_choice(services, specs, "text2img-model")
    knobs = sampling(first)
    seed, keep = seed_fields()
    inside = inside_switch()
    services.opening.seed(seed)
    # Not `change`: a picture that is restored brings its model and its settings at once.
    model.input(
        lambda base_id: knobs.defaults(specs[base_id]),
        model,
        list(knobs.defaults(first)),
        **INSTANT,
    )
    fields = {**texts, "base_id": model, **vars(knobs), "seed": seed, "keep_seed": keep}
    draw_restore(fields, knobs, specs).connect(services.sent)
    return {**fields, "inside": inside}


def _teller(key: str) -> Callable[[gr.Request], str]:
    """A handler that answers with a sentence in the person's language."""

    def tell(request: gr.Request) -> str:
        return t(key, language_of(request))

    return tell


def _surprise(request: gr.Request) -> str:
    """A prompt that the little world can draw."""
    import numpy as np

    from studio.world.caption import surprise

    return surprise(np.random.default_rng(), language_of(request))


def request_of(specs: Mapping[str, ModelSpec], **values: Any) -> GenerationRequest:
    """The request of raw values from outside, by field name. Raises InvalidInput."""
    base_id = values.get("base_id")
    if not isinstance(base_id, str) or base_id not in specs:
        raise InvalidInput("not_a_choice", field="base_id", value=str(base_id)[:40], choices=", ".join(specs))
    for name in WHOLE_FIELDS:
        value = values.get(name)
        if isinstance(value, float) and value.is_integer():
            values[name] = int(value)
    return GenerationRequest(**values)


def show(services: Services, pictures: Pictures, event: Event, language: str) -> Iterator[Updates]:
    """The pictures of an event; at the end first the pictures, then how well they obey their prompt."""
    if not isinstance(event, Done):
        yield pictures.preview(event)
        return
    result: GenerationResult = event.result
    notes = " ".join(t(f"note.{key}", language) for key in result.notes)
    eye = services.studio.eye
    if eye is None:
        yield pictures.finished(result, language, f"{notes} {t('text2img.no_eye', language)}")
        return
    yield pictures.finished(result, language, f"{notes} {t('text2img.measuring', language)}")
    marks = eye.obedience(result.request.prompt, result.images)
    if result.record_id:
        remember_marks(services.studio, result.record_id, marks)
    yield pictures.measured(result, marks, language, notes)


def remember_marks(studio: Studio, record_id: str, marks: Sequence[Sequence[Mark]]) -> None:
    """Let the history know what the eye found. Where it cannot be written, the page still shows it."""
    try:
        studio.store.write_marks(record_id, [[asdict(mark) for mark in own] for own in marks])
    except StudioError as error:
        logger.warning("the marks of %s are not kept: %s", record_id, error)


def publish(services: Services, fields: dict[str, Any]) -> None:
    """Offer the same generation to programs, as the endpoint /text2img."""

    def text2img(
        request: gr.Request,
        prompt: str,
        negative_prompt: str,
        seed: int,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        sampler: str,
        model: str,
        precision: str,
    ) -> Iterator[Answer]:
        """Draw one picture from a text.

        Args:
            prompt: What the picture shows, in English or Chinese.
            negative_prompt: What it shall not show.
            seed: The same seed gives the same picture; null draws one.
            width: Pixels, a multiple of 8.
            height: Pixels, a multiple of 8.
            steps: Denoising steps.
            guidance: How strictly the prompt is followed; 1 turns guidance off.
            sampler: One of ddim, euler, dpmpp_2m, unipc.
            model: Which model draws.
            precision: exact or fast.

        Returns:
            The picture, and what it took. Before the end, null and how far it is.
        """
        values = {"prompt": prompt, "negative_prompt": negative_prompt, "width": width, "height": height}
        values |= {"seed": random_seed() if seed is None else seed, "num_inference_steps": steps}
        values |= {"guidance_scale": guidance, "scheduler": sampler, "base_id": model, "precision": precision}
        yield from stream(services.studio, lambda: request_of(services.studio.specs, **values), request)

    names = ("prompt", "negative_prompt", "seed", "width", "height")
    inputs = [
        fields[name] for name in (*names, "num_inference_steps", "guidance_scale", "scheduler", "base_id", "precision")
    ]
    offer(text2img, inputs)


TAB = Tab(id="text2img", order=10, build=build)
