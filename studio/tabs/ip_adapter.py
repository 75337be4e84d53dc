"""Style by picture: one to four references say how a picture looks, the prompt says what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from studio.engine.generate import Generation
from studio.engine.pictures import open_mask
from studio.engine.reference_lights import ReferenceLights
from studio.engine.scales import ScaleSweep
from studio.errors import InvalidInput
from studio.events import Work
from studio.tabs.judging import measure_of, verdict
from studio.tabs.text2img import request_of, show
from studio.types import MAX_CONTROL_SCALE, ControlUse, GenerationRequest, ModelSpec, Tab, Task
from studio.ui.board import draw_buttons, draw_settings, draw_texts
from studio.ui.compared import compare_switch, draw_compared
from studio.ui.endpoint import Answer, offer, stream
from studio.ui.inside import draw_inside, inside_switch
from studio.ui.lights import light_list
from studio.ui.pictures import draw_pictures
from studio.ui.references import NAMES, PAINTED, TOGETHER, WEIGHTS, draw_references, taken
from studio.ui.run import JobFlow, Updates, browser_state, draw_panel
from studio.ui.scales import swept
from studio.ui.services import Services
from studio.ui.source import uploaded
from studio.ui.text import label
from studio.ui.trial import Tell, Trial, draw_trial
from studio.ui.uses import model_of
from studio.ui.widgets import card, random_seed
from studio.world.wish import phrases

if TYPE_CHECKING:
    from studio.build import Studio

NAME = CONTROL_ID = "ip_adapter"
PLACES = ("all", "style", "layout")
SHELF_SEED, SHELF_SIDE = 8, 128
"""The scene that lies on the shelf in every style, and its pictures' side in pixels."""
DOSES = ("scale", "start", "end", "where")
# The order in which a program gives them.
# fmt: off
ENDPOINT_FIELDS = (
    "references", "weights", "mask", "scale", "start", "end", "where", "prompt", "negative_prompt", "seed", "width",
    "height", "num_inference_steps", "guidance_scale", "scheduler", "base_id", "precision",
)
# fmt: on


def build(services: Services) -> None:
    """Draw the page and wire it."""
    specs, pictures_on_shelf = specs_of(services.studio), shelf()
    with gr.Row(elem_classes="studio-halves"):
        with gr.Column(scale=5, min_width=320, elem_classes="studio-half"):
            with card("ip_adapter.card.references", "source"):
                references = draw_references(NAME, pictures_on_shelf)
            with card("text2img.card.prompt", "prompt"):
                texts = draw_texts(NAME)
                doses_of_it = _draw_dose()
                start, stop = draw_buttons(NAME)
            with card("text2img.card.settings", "settings"):
                settings = gr.Column(elem_classes="studio-stack")
        with gr.Column(scale=7, min_width=320, elem_classes="studio-half"):
            with card("text2img.card.result", "result"):
                panel = draw_panel(start, stop, f"{NAME}-")
                pictures = draw_pictures(f"{NAME}-", "ip_adapter.empty_hint")
                compared = draw_compared(NAME)
                inside = draw_inside(phrases(), f"{NAME}-")
                trials = [draw_trial(name, NAME, name, f"{name}-found") for name in ("dose", "reference_fact")]
    with settings:
        fields = draw_settings(services, specs, {**texts, **doses_of_it}, NAME)
        watched, comparing = inside_switch(f"{NAME}-"), compare_switch(NAME)
    references.connect(services, NAME, pictures_on_shelf, [fields["width"], fields["height"]])
    pictures.connect(services)
    every = {**fields, **references.fields}
    outputs = [*pictures.outputs, *inside.outputs]
    job_id = browser_state(f"{NAME}.job")
    shown = inside.beside(partial(show, services, pictures))
    flow = JobFlow(services.studio, panel, services.owner, job_id, outputs, shown)

    def wish(keep_seed: object, inside: object, **values: object) -> tuple[Generation, Updates]:
        """A wish's work; its seed is written where it can be read."""
        if keep_seed is not True:
            values["seed"] = random_seed()
        request = request_from(services.studio, specs, **values)
        return Generation(request, inside=inside is True), {fields["seed"]: request.seed}

    finished = flow.connect(services.opening, {**every, "inside": watched}, wish, [fields["seed"]])
    compared.after(finished, services, job_id, comparing, partial(verdict, services.studio))
    _connect_trials(services, trials, every, specs)
    publish(services, every, specs)


def _connect_trials(
    services: Services, trials: list[Trial], fields: dict[str, Any], specs: Mapping[str, ModelSpec]
) -> None:
    """Wire the sweep over the scales and the facts, each on what the page asks for."""
    studio = services.studio

    def sweep(keep_seed: object, **values: object) -> ScaleSweep:
        request = request_from(studio, specs, **values)
        return ScaleSweep(request, measure=measure_of(studio.eye, request))

    def facts(keep_seed: object, **values: object) -> ReferenceLights:
        return ReferenceLights(request_from(studio, specs, **values))

    works: list[tuple[Callable[..., Work], Tell]] = [(sweep, swept), (facts, light_list)]
    for trial, (work, tell) in zip(trials, works, strict=True):
        trial.connect(services, fields, work, tell)


def _draw_dose() -> dict[str, Any]:
    """How strongly, when and where the references act, by the fields' names."""
    scale = gr.Slider(
        0, MAX_CONTROL_SCALE, 1.0, step=0.05, label=label("reference.scale"), info=label("reference.scale_info"),
        elem_id=f"{NAME}-scale",
    )  # fmt: skip
    with gr.Row():
        start, end = (
            gr.Slider(0, 1, value, step=0.05, label=label(f"reference.{name}"), min_width=130, elem_id=f"{NAME}-{name}")
            for name, value in (("start", 0.0), ("end", 1.0))
        )
    where = gr.Radio(
        [(label(f"reference.where.{place}"), place) for place in PLACES],
        value=PLACES[0],
        label=label("reference.where"),
        info=label("reference.where_info"),
        elem_id=f"{NAME}-where",
    )
    return {"scale": scale, "start": start, "end": end, "where": where}


def specs_of(studio: Studio) -> dict[str, ModelSpec]:
    """The models that pictures can be drawn with after a reference, by id, the default first."""
    families = {spec.family for one in studio.controls if one.id == CONTROL_ID for spec in one.specs}
    return {name: spec for name, spec in studio.specs_for(Task.TEXT_TO_IMAGE).items() if spec.family in families}


def shelf() -> list[Image.Image]:
    """One scene of the little world in every style."""
    from studio.world.render import render_image
    from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed
    from studio.world.vocabulary import STYLES

    scene = scene_of_seed(FIRST_HELD_OUT_SEED + SHELF_SEED)
    return [Image.fromarray(render_image(replace(scene, style=style), SHELF_SIDE)) for style in STYLES]


def request_from(studio: Studio, specs: Mapping[str, ModelSpec], **values: Any) -> GenerationRequest:
    """The request of raw values from outside. Raises InvalidInput."""
    drawn = {name: values.pop(name, None) for name in (*NAMES, *WEIGHTS, "division", "painted")}
    dose = {name: values.pop(name, None) for name in DOSES}
    request = request_of(specs, **values)
    told = taken(drawn, (request.width, request.height))
    use = ControlUse(
        CONTROL_ID,
        model_of(studio, CONTROL_ID, request.base_id),
        (*told.pictures, *told.masks),
        dose["scale"],
        dose["start"],
        dose["end"],
        {"where": dose["where"], "masked": bool(told.masks), **dict(zip(WEIGHTS, told.weights, strict=False))},
    )
    return replace(request, controls=(use,))


def publish(services: Services, fields: dict[str, Any], specs: Mapping[str, ModelSpec]) -> None:
    """Offer the same to programs, as the endpoint /ip_adapter."""

    def ip_adapter(
        request: gr.Request,
        references: list[Any],
        weights: list[float],
        mask: Any,
        scale: float,
        start: float,
        end: float,
        where: str,
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
        """Draw what a text says in the style of one to four pictures.

        Args:
            references: The pictures: PNG, JPEG, WebP, or the first frame of a GIF.
            weights: How much each counts beside the others, 0 to 2; null for all alike.
            mask: For two references, or null: the first acts where it is white, the second elsewhere.
            scale: How strongly they act: 0 not at all, 1 as trained.
            start: From this share of the steps on.
            end: Up to this share of the steps.
            where: In which blocks of the UNet: all, style or layout.
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
        values = (references, weights, mask, scale, start, end, where, prompt, negative_prompt, seed, width, height)
        named = dict(zip(ENDPOINT_FIELDS, (*values, steps, guidance, sampler, model, precision), strict=True))
        yield from stream(services.studio, lambda: request_of_program(services.studio, specs, **named), request)

    own = {
        "references": gr.File(file_count="multiple", visible=False, label="references"),
        "weights": gr.JSON(visible=False, label="weights"),
        "mask": gr.Image(format="png", visible=False, label="mask"),
    }
    offer(ip_adapter, [{**fields, **own}[name] for name in ENDPOINT_FIELDS])


def request_of_program(
    studio: Studio, specs: Mapping[str, ModelSpec], references: Any, weights: Any, mask: Any, **values: Any
) -> GenerationRequest:
    """The request of raw values from a program. Raises InvalidInput."""
    files = references if isinstance(references, list) else [references]
    weighed = weights if isinstance(weights, list) else [1.0] * len(files)
    if len(files) > len(NAMES):
        raise InvalidInput("number_of_references", field="references", maximum=len(NAMES), value=len(files))
    if len(weighed) != len(files):
        raise InvalidInput("number_of_weights", field="weights", wanted=len(files))
    drawn: dict[str, Any] = {**dict(zip(NAMES, files, strict=False)), **dict(zip(WEIGHTS, weighed, strict=False))}
    drawn["division"] = TOGETHER
    if mask is not None:
        drawn |= {"division": PAINTED, "painted": open_mask(uploaded(mask, "mask"))}
    return request_from(studio, specs, **drawn, **values)


TAB = Tab(id=NAME, order=45, build=build)
