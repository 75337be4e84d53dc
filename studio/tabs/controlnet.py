"""ControlNet: maps of edges, depth and poses steer a picture, and how far it follows them is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import gradio as gr
from PIL import Image

from studio.engine.generate import Generation
from studio.engine.infotext import Restored, read
from studio.engine.residuals import ControlChecks, ResidualWatch
from studio.engine.scales import ScaleSweep
from studio.events import Work
from studio.perception.following import Follower
from studio.tabs.text2img import request_of, show
from studio.types import ControlUse, GenerationRequest, Tab
from studio.ui.board import draw_buttons, draw_settings, draw_texts
from studio.ui.compared import compare_switch, draw_compared, followed
from studio.ui.endpoint import Answer, offer, stream
from studio.ui.found import Wanted, find_map
from studio.ui.inside import draw_inside, inside_switch
from studio.ui.lights import light_list
from studio.ui.pictures import draw_pictures
from studio.ui.residuals import residual_map
from studio.ui.run import JobFlow, Updates, browser_state, draw_panel
from studio.ui.scales import swept
from studio.ui.services import Sent, Services
from studio.ui.source import uploaded
from studio.ui.text import label
from studio.ui.trial import Tell, Trial, draw_trial
from studio.ui.unit import Unit, draw_unit
from studio.ui.uses import kind_of, missing_model, model_of, uses_of
from studio.ui.waking import draw_waking
from studio.ui.widgets import INSTANT, card, random_seed
from studio.world.maps import MAP_KINDS, MapKind
from studio.world.wish import phrases

if TYPE_CHECKING:
    from studio.build import Studio

NAME = "controlnet"
UNITS = range(1, 4)
# The order in which a program gives them.
# fmt: off
ENDPOINT_FIELDS = (
    "image", "unit1_kind", "unit1_way", "prompt", "negative_prompt", "unit1_scale", "unit1_start", "unit1_end", "seed",
    "width", "height", "num_inference_steps", "guidance_scale", "scheduler", "base_id", "precision",
)
# fmt: on


def build(services: Services) -> None:
    """Draw the page and wire it."""
    studio, specs = services.studio, services.studio.specs
    size = (next(iter(specs.values())).defaults.width, next(iter(specs.values())).defaults.height)
    with gr.Row(elem_classes="studio-halves"):
        with gr.Column(scale=5, min_width=320, elem_classes="studio-half"):
            with card("text2img.card.prompt", "prompt"):
                texts = draw_texts(NAME)
                start, stop = draw_buttons(NAME)
            with card("text2img.card.settings", "settings"):
                settings = gr.Column(elem_classes="studio-stack")
        with gr.Column(scale=7, min_width=320, elem_classes="studio-half"):
            with card("controlnet.card.maps", "source"):
                units = _draw_units(studio, size)
            with card("text2img.card.result", "result"):
                panel = draw_panel(start, stop, f"{NAME}-")
                pictures = draw_pictures(f"{NAME}-", "controlnet.empty_hint")
                compared = draw_compared(NAME)
                inside = draw_inside(phrases(), f"{NAME}-")
                trials = [draw_trial(name, NAME, name, f"{name}-found") for name in ("sweep", "residual", "fact")]
                woken = draw_waking(NAME)
    with settings:
        doses = [part for unit in units for part in unit.refilled]
        fields = draw_settings(services, specs, texts, NAME, doses, partial(refilled, units))
        watched, comparing = inside_switch(f"{NAME}-"), compare_switch(NAME)
    for unit in units:
        unit.connect(services, fields)
    _receive(services, units[0], fields)
    pictures.connect(services)
    every = {**fields, **{name: widget for unit in units for name, widget in unit.fields.items()}}
    job_id = browser_state(f"{NAME}.job")
    outputs = [*pictures.outputs, *inside.outputs]
    shown = inside.beside(partial(show, services, pictures))
    flow = JobFlow(studio, panel, services.owner, job_id, outputs, shown)

    def wish(keep_seed: object, inside: object, **values: object) -> tuple[Generation, Updates]:
        """A wish's work; its seed is written where it can be read."""
        if keep_seed is not True:
            values["seed"] = random_seed()
        request = request_from(studio, **values)
        return Generation(request, inside=inside is True), {fields["seed"]: request.seed}

    follower = Follower(studio.settings.models_dir)
    finished = flow.connect(services.opening, {**every, "inside": watched}, wish, [fields["seed"]])
    compared.after(finished, services, job_id, comparing, partial(followed, follower))
    _connect_trials(services, trials, every, follower)
    woken.connect(services, units[0], fields["base_id"])
    publish(services, every)


def _connect_trials(services: Services, trials: list[Trial], fields: dict[str, Any], follower: Follower) -> None:
    """Wire the sweep over scales, the look at the residuals, and the two facts; each on what the page asks for."""
    studio = services.studio

    def asked(keep_seed: object, **values: object) -> GenerationRequest:
        return request_from(studio, **values)

    def sweep(**values: object) -> ScaleSweep:
        request = asked(**values)
        return ScaleSweep(request, measure=partial(measured, studio, follower, request))

    works: list[tuple[Callable[..., Work], Tell]] = [
        (sweep, swept),
        (lambda **values: ResidualWatch(asked(**values)), residual_map),
        (lambda **values: ControlChecks(asked(**values)), light_list),
    ]
    for trial, (work, tell) in zip(trials, works, strict=True):
        trial.connect(services, fields, work, tell)


def measured(
    studio: Studio, follower: Follower, request: GenerationRequest, picture: Image.Image
) -> dict[str, float | None]:
    """How far a picture follows the first unit's map, and which share of the prompt's wishes it fulfils."""
    use = request.controls[0]
    following = follower.follow(cast(MapKind, use.control_id), use.images[0], picture)
    marks = studio.eye.obedience(request.prompt, [picture])[0] if studio.eye is not None else ()
    fulfilled = sum(mark.holds for mark in marks) / len(marks) if marks else None
    return {"obedience": following.value if following is not None else None, "prompt": fulfilled}


def _draw_units(studio: Studio, size: tuple[int, int]) -> list[Unit]:
    """A tab for each unit; they begin with different kinds, those first whose ControlNet is at hand."""
    units = []
    with gr.Tabs(elem_classes="studio-units"):
        for number, kind in zip(UNITS, ranked_kinds(studio), strict=True):
            with gr.Tab(label(f"controlnet.unit.{number}"), id=f"unit-{number}"):
                units.append(draw_unit(number, kind, studio, size, NAME))
    return units


def ranked_kinds(studio: Studio) -> list[MapKind]:
    """All kinds of maps, poses before the others, and before them what cannot be used."""
    first = next(iter(studio.specs))
    ranked: list[MapKind] = sorted(
        MAP_KINDS, key=lambda kind: (missing_model(studio, kind, first) is not None, kind != "pose")
    )
    return ranked


def _receive(services: Services, unit: Unit, fields: Mapping[str, Any]) -> None:
    """Take a picture that another tab sends, with the texts that it is known by."""
    prompt, negative = fields["prompt"], fields["negative_prompt"]

    def receive(sent: Sent) -> Updates:
        if sent.tab != NAME or not sent.as_input:
            return {prompt: gr.skip()}
        known = read(sent.data, tuple(services.studio.specs)).values
        with Image.open(BytesIO(sent.data)) as picture:
            texts = {prompt: known.get("prompt", ""), negative: known.get("negative_prompt", "")}
            return {unit.source: picture.convert("RGB"), unit.scene: None, **texts}

    services.sent.change(receive, services.sent, [unit.source, unit.scene, prompt, negative], **INSTANT)


def refilled(units: Sequence[Unit], restored: Restored) -> Updates:
    """The units as a picture was steered; its maps are not inside. Where it was not, they stay as they are."""
    uses = [use for use in restored.values.get("controls", ()) if use.control_id in MAP_KINDS]
    updates: Updates = {}
    for place, unit in enumerate(units if uses else ()):
        updates |= unit.updates(uses[place] if place < len(uses) else None)
    return updates


def request_from(studio: Studio, **values: Any) -> GenerationRequest:
    """The request of raw values from outside. Raises InvalidInput, also where no unit is on."""
    own = {name: values.pop(name) for name in list(values) if name.startswith("unit")}
    plain = request_of(studio.specs, **values)
    uses = uses_of(studio, plain.base_id, (plain.width, plain.height), own, UNITS)
    return replace(plain, controls=tuple(uses))


def publish(services: Services, fields: dict[str, Any]) -> None:
    """Offer one unit to programs, as the endpoint /controlnet."""
    studio = services.studio

    def controlnet(
        request: gr.Request,
        image: Any,
        kind: str,
        preprocessor: str,
        prompt: str,
        negative_prompt: str,
        scale: float,
        start: float,
        end: float,
        seed: int,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        sampler: str,
        model: str,
        precision: str,
    ) -> Iterator[Answer]:
        """Draw one picture that follows a map of edges, depth or a pose.

        Args:
            image: The picture that the map is found in, or the map itself: PNG, JPEG, WebP, or a GIF's first frame.
            kind: canny, depth or pose.
            preprocessor: What finds the map, such as canny, world_depth or openpose; own where the picture is a map.
            prompt: What the new picture shows, in English or Chinese.
            negative_prompt: What it shall not show.
            scale: How strongly the map steers, from 0 to 2.
            start: From which share of the steps on it steers.
            end: Until which share of the steps.
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
        values = (image, kind, preprocessor, prompt, negative_prompt, scale, start, end, seed, width, height, steps)
        named = dict(zip(ENDPOINT_FIELDS, (*values, guidance, sampler, model, precision), strict=True))
        yield from stream(studio, lambda: request_of_one(studio, **named), request)

    own = {"image": gr.Image(format="png", visible=False, label="image")}
    offer(controlnet, [{**fields, **own}[name] for name in ENDPOINT_FIELDS])


def request_of_one(studio: Studio, image: Any, unit1_kind: Any, unit1_way: Any, **values: Any) -> GenerationRequest:
    """The request of a program's raw values, with one unit. Raises as the detectors do, and InvalidInput."""
    doses = {name.removeprefix("unit1_"): values.pop(name) for name in list(values) if name.startswith("unit1_")}
    plain = request_of(studio.specs, **values)
    kind, size = kind_of(unit1_kind), (plain.width, plain.height)
    found = find_map(studio, Wanted(kind, str(unit1_way), None, size, {}), uploaded(image, "map"))
    use = ControlUse(kind, model_of(studio, kind, plain.base_id), (found.map,), **doses)
    return replace(plain, controls=(use,))


TAB = Tab(id=NAME, order=40, build=build)
