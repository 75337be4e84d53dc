"""LoRA: a shelf of small files that teach a model a style, a thing or somebody, and the truth about each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from studio.engine.generate import Generation
from studio.engine.infotext import Restored
from studio.engine.lora_lab import BudgetTrial, RankSweep
from studio.engine.lora_tags import tag_of, with_loras
from studio.engine.scales import ScaleSweep
from studio.errors import InvalidInput
from studio.events import GenerationResult, Work
from studio.tabs.lora_form import draw_form
from studio.tabs.text2img import request_of, show
from studio.text import t
from studio.types import GenerationRequest, ModelSpec, Tab, Task
from studio.ui.board import draw_buttons, draw_settings, draw_texts
from studio.ui.compared import compare_switch, draw_compared
from studio.ui.endpoint import Answer, offer, stream
from studio.ui.lora_lab import budgeted, ranked
from studio.ui.lora_shelf import draw_shelf
from studio.ui.lora_slots import SLOTS, Slot, draw_slot, refilled, taken_tags
from studio.ui.pictures import draw_pictures
from studio.ui.run import JobFlow, Updates, browser_state, draw_panel
from studio.ui.scales import swept
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.trial import Tell, Trial, draw_trial, note
from studio.ui.widgets import card, random_seed

if TYPE_CHECKING:
    from studio.build import Studio

NAME = "lora"
TRIALS = ("lora_dose", "lora_cut", "lora_budget")
# The order in which a program gives them.
# fmt: off
ENDPOINT_FIELDS = (
    "loras", "prompt", "negative_prompt", "seed", "width", "height", "num_inference_steps", "guidance_scale",
    "scheduler", "base_id", "precision",
)
# fmt: on


def build(services: Services) -> None:
    """Draw the page and wire it."""
    studio = services.studio
    specs = specs_of(studio)
    with gr.Row(elem_classes="studio-halves"):
        with gr.Column(scale=5, min_width=320, elem_classes="studio-half"):
            with card("loras.card.shelf", "source"):
                shelf = draw_shelf(NAME, uploads=not studio.settings.public)
                form = draw_form(NAME, visible=not studio.settings.public)
            with card("text2img.card.settings", "settings"):
                settings = gr.Column(elem_classes="studio-stack")
        with gr.Column(scale=7, min_width=320, elem_classes="studio-half"):
            with card("text2img.card.prompt", "prompt"):
                texts = draw_texts(NAME)
                slots = [_draw_slot(number) for number in range(1, SLOTS + 1)]
                start, stop = draw_buttons(NAME)
            with card("text2img.card.result", "result"):
                panel = draw_panel(start, stop, f"{NAME}-")
                pictures = draw_pictures(f"{NAME}-", "loras.empty_hint")
                compared = draw_compared(NAME)
                trials = [draw_trial(name, NAME, name, f"{name}-found") for name in TRIALS]
    with settings:
        places = [widget for slot in slots for widget in slot.fields.values()]
        fields = draw_settings(services, specs, texts, NAME, places, partial(_refilled, studio, slots, texts["prompt"]))
        comparing = compare_switch(NAME)
    names = [slot.name for slot in slots]
    shelf.connect(services, fields, names)

    def arrived(request: gr.Request, name: str, *used: Any) -> Updates:
        return shelf.arrived(studio, name, language_of(request), names, used)

    form.connect(services, fields["base_id"], arrived, names, [*shelf.outputs, *names])
    pictures.connect(services)
    every = {**fields, **{name: widget for slot in slots for name, widget in slot.fields.items()}}
    job_id = browser_state(f"{NAME}.job")
    shown = partial(show, services, pictures)
    flow = JobFlow(studio, panel, services.owner, job_id, pictures.outputs, shown)

    def wish(keep_seed: object, **values: object) -> tuple[Generation, Updates]:
        """A wish's work; its seed is written where it can be read."""
        if keep_seed is not True:
            values["seed"] = random_seed()
        request = request_from(studio, specs, **values)
        return Generation(request), {fields["seed"]: request.seed}

    finished = flow.connect(services.opening, every, wish, [fields["seed"]])
    compared.after(finished, services, job_id, comparing, swap_told)
    _connect_trials(services, trials, every, specs)
    publish(services, fields, specs)


def _connect_trials(
    services: Services, trials: list[Trial], fields: dict[str, Any], specs: Mapping[str, ModelSpec]
) -> None:
    """Wire the experiments: more and more of it, cut to lower ranks, and where a budget of numbers learns most."""
    studio = services.studio

    def steered(keep_seed: object, **values: object) -> GenerationRequest:
        request = with_loras(request_from(studio, specs, **values), studio.registry.specs)
        if not request.controls:
            raise InvalidInput("lora_nothing_chosen", field="lora")
        return request

    def sweep(**values: object) -> ScaleSweep:
        request = steered(**values)
        return ScaleSweep(request, measure=partial(_kept, studio, request.prompt))

    def cut(**values: object) -> RankSweep:
        return RankSweep(steered(**values))

    def budget(**values: object) -> BudgetTrial:
        return BudgetTrial()

    works: list[tuple[Callable[..., Work], Tell]] = [(sweep, swept), (cut, ranked), (budget, budgeted)]
    for trial, (work, tell) in zip(trials, works, strict=True):
        trial.connect(services, fields, work, tell)


def _draw_slot(number: int) -> Slot:
    """A place for a LoRA; all but the first lie in a drawer."""
    if number == 1:
        return draw_slot(number, NAME)
    with gr.Accordion(label("loras.another"), open=False, elem_id=f"{NAME}-{number}", elem_classes="studio-lights"):
        return draw_slot(number, NAME)


def _refilled(studio: Studio, slots: list[Slot], prompt: Any, restored: Restored) -> Updates:
    """The places as the LoRAs of a picture were set, and the prompt without what they show."""
    if "prompt" not in restored.values:
        return {}
    try:
        text, updates = refilled(slots, studio.loras.usable(), restored.values["prompt"])
    except InvalidInput:  # no tag that can be read: the prompt says so when it is drawn
        return {}
    return {prompt: text, **updates}


def specs_of(studio: Studio) -> dict[str, ModelSpec]:
    """The models that pictures can be drawn with from a text, by id, the default first."""
    return studio.specs_for(Task.TEXT_TO_IMAGE)


def request_from(studio: Studio, specs: Mapping[str, ModelSpec], **values: Any) -> GenerationRequest:
    """The request of raw values from outside, its LoRAs as tags of the prompt. Raises InvalidInput."""
    tags = taken_tags(values)
    request = request_of(specs, **values)
    admit(studio)
    return replace(request, prompt=" ".join([request.prompt, *map(str, tags)]).strip())


def admit(studio: Studio) -> None:
    """Let the registry lease what has come onto the shelf since the studio began."""
    for spec in studio.loras.specs():
        if spec.id not in studio.registry.specs:
            studio.registry.admit(spec)


def _kept(studio: Studio, prompt: str, picture: Image.Image) -> Mapping[str, float | None]:
    """Which share of the prompt's wishes a picture fulfils."""
    if studio.eye is None:
        return {}
    (marks,) = studio.eye.obedience(prompt, [picture])
    return {"prompt": sum(mark.holds for mark in marks) / len(marks) if marks else None}


def swap_told(result: GenerationResult, bare: Image.Image | None, language: str) -> str:
    """Which LoRAs acted, and how long it took until they were at hand."""
    names = ", ".join(f"{tag.name} ({tag.scale:g})" for tag in map(tag_of, result.request.controls))
    milliseconds = f"{1_000 * result.timings.load_seconds:,.1f}"
    return note(t("loras.swapped", language, names=names, milliseconds=milliseconds))


def publish(services: Services, fields: dict[str, Any], specs: Mapping[str, ModelSpec]) -> None:
    """Offer the same to programs, as the endpoint /lora."""

    def lora(
        request: gr.Request,
        loras: Any,
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
        """Draw one picture from a text with LoRAs of the shelf.

        Args:
            loras: Name and weight of each, as {"momo": 0.8}; null for those that the prompt names as <lora:momo:0.8>.
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
        seed = random_seed() if seed is None else seed
        values = (prompt, negative_prompt, seed, width, height, steps, guidance, sampler, model, precision)
        named = dict(zip(ENDPOINT_FIELDS[1:], values, strict=True))
        yield from stream(services.studio, lambda: request_of_program(services.studio, specs, loras, **named), request)

    own = {"loras": gr.JSON(visible=False, label="loras")}
    offer(lora, [{**fields, **own}[name] for name in ENDPOINT_FIELDS])


def request_of_program(studio: Studio, specs: Mapping[str, ModelSpec], loras: Any, **values: Any) -> GenerationRequest:
    """The request of raw values from a program. Raises InvalidInput."""
    wanted = {} if loras is None else loras
    if not isinstance(wanted, dict) or len(wanted) > SLOTS:
        raise InvalidInput("lora_not_weights", field="loras", maximum=SLOTS)
    for number, (name, weight) in enumerate(wanted.items(), start=1):
        values |= {f"lora{number}_name": name, f"lora{number}_unet_weight": weight, f"lora{number}_text_weight": weight}
    return request_from(studio, specs, **values)


TAB = Tab(id=NAME, order=36, build=build)
