"""Quantized models: what is lost and what is gained when a model is computed in fewer bits, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.engine.blind import BlindGame, Game
from studio.engine.comparison import MOST_ROWS, Comparison
from studio.engine.comparison_distances import Distances
from studio.errors import InvalidInput, StudioError
from studio.events import Decoding, Done, Event, Failed, Loading, Queued, Row, Step, Stopped
from studio.tabs.text2img import request_of
from studio.text import t
from studio.types import ModelSpec, Tab, Task
from studio.ui.models import draw_model_choice
from studio.ui.quant_names import choices, method_name, unavailable
from studio.ui.quant_pictures import card_of
from studio.ui.quant_table import as_json
from studio.ui.quant_view import BLIND_SCRIPT, SCRIPT, blind, view
from studio.ui.run import JobFlow, Updates, browser_state, describe_failure, draw_panel, follow
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.trial import Trial
from studio.ui.widgets import INSTANT, KNOB_WIDTH, card, prompt_box, random_seed
from studio.world.vocabulary import KINDS

if TYPE_CHECKING:
    from studio.build import Studio
    from studio.engine.comparison_subjects import PixelVariants, Subject

NAME = "quant_compare"
TEXT, PIXELS = "little-world", "pixel-ddpm"
USUAL_ROWS = ("fp32", "openvino_bf16", "openvino_int8", "mse-w8a6")
USUAL_STEPS, MOST_STEPS, USUAL_SEED, GAMMA = 20, 100, 20, 2.0
USUAL_PROMPT = "a red house and a tree in the snow"
FOLDER = "ddpm"


class Subjects:
    """What can be compared; the network on pixels is opened when it is first asked for."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._variants: PixelVariants | None = None

    def make(
        self, model: object, prompt: object, kind: object, steps: object, seed: object, base_id: object = TEXT
    ) -> Subject:
        """What the fields name. base_id: which text-to-image model, where `model` says no more than that it is one.

        Raises InvalidInput that names the field and its limit.
        """
        from studio.engine.comparison_subjects import PixelSubject, PixelVariants, TextSubject
        from studio.engine.walking import Walk

        if model == PIXELS:
            if self._variants is None:
                self._variants = PixelVariants(self._studio.settings.models_dir / FOLDER)
            return PixelSubject(Walk(kind, steps, "ddim", "beta_tilde", GAMMA, seed), self._variants)
        specs, model = self._studio.specs, base_id if model == TEXT else model
        if model not in specs:
            raise InvalidInput(
                "not_a_choice", field="model", value=str(model)[:40], choices=", ".join((*specs, PIXELS))
            )
        own = specs[str(model)].defaults
        settings = {"width": own.width, "height": own.height, "guidance_scale": own.guidance_scale}
        named = {"base_id": model, "prompt": prompt, "num_inference_steps": steps, "seed": seed}
        return TextSubject(request_of(specs, **named, **settings, scheduler=own.scheduler.value))


def drawing(studio: Studio) -> dict[str, ModelSpec]:
    """The models that draw from a text."""
    return {name: spec for name, spec in studio.specs.items() if Task.TEXT_TO_IMAGE in spec.tasks}


def build(services: Services) -> None:
    """Draw the page and wire it."""
    subjects = Subjects(services.studio)
    with gr.Row(elem_classes="studio-halves"):
        with gr.Column(scale=5, min_width=320, elem_classes="studio-half"):
            with card("quant.card.what", "source"):
                fields = _draw_fields(services)
                with gr.Row(elem_classes="studio-actions"):
                    start = gr.Button(label("quant.compare"), variant="primary", scale=3, elem_id="quant-start")
                    stop = gr.Button(
                        label("text2img.stop"), interactive=False, scale=1, min_width=80, elem_id="quant-stop"
                    )
                missing = gr.HTML(elem_id="quant-missing")
        with gr.Column(scale=7, min_width=320, elem_classes="studio-half"):
            with card("quant.card.blind", "settings"):
                gr.HTML(label("quant.blind_hint"), elem_classes="studio-note")
                play = gr.Button(label("quant.blind_play"), size="sm", elem_id="quant-play")
                game = gr.HTML(js_on_load=BLIND_SCRIPT, elem_id="quant-game")
    with card("quant.card.result", "result"):
        panel = draw_panel(start, stop, "quant-")
        found = gr.HTML(label("quant.empty"), js_on_load=SCRIPT, elem_id="quant-found")
    job_id = browser_state(f"{NAME}.job")
    flow = JobFlow(services.studio, panel, services.owner, job_id, [found], partial(show, found))

    def wish(rows: object, **values: object) -> tuple[Comparison, Updates]:
        return comparison(services.studio, subjects, rows, **values), {found: gr.skip()}

    flow.connect(services.opening, fields, wish, [found])
    Trial(play, game).connect(services, fields, partial(_game, services.studio, subjects), _told_blind)
    _connect(services, missing)
    publish(services, subjects, fields)


def _draw_fields(services: Services) -> dict[str, Any]:
    """The model, what it draws, and the rows."""
    models = [(label("quant.model.text"), TEXT), (label("quant.model.pixels"), PIXELS)]
    model = gr.Radio(models, value=TEXT, label=label("quant.model"), elem_id="quant-model")
    with gr.Column(min_width=KNOB_WIDTH) as text:
        base_id = draw_model_choice(services, drawing(services.studio), "quant-base")
        prompt = prompt_box("text2img.prompt", 2, "quant-prompt")
        prompt.value = USUAL_PROMPT
    kinds = [(label(f"maths.kind.{kind}"), kind) for kind in KINDS]
    kind = gr.Dropdown(kinds, value="cat", label=label("maths.kind"), visible=False, elem_id="quant-kind")
    with gr.Row():
        steps = gr.Slider(1, MOST_STEPS, USUAL_STEPS, step=1, label=label("quant.steps"), min_width=KNOB_WIDTH)
        seed = gr.Number(USUAL_SEED, precision=0, label=label("text2img.seed"), min_width=110, elem_id="quant-seed")
    rows = gr.Dropdown(
        choices(services.studio.methods),
        value=list(USUAL_ROWS),
        multiselect=True,
        max_choices=MOST_ROWS,
        allow_custom_value=True,
        label=label("quant.rows"),
        info=label("quant.rows_info"),
        elem_id="quant-rows",
    )
    model.input(partial(follow_model, text, kind), model, [text, kind], **INSTANT)
    asked = {"prompt": prompt, "kind": kind, "steps": steps, "seed": seed, "rows": rows}
    return {"model": model, "base_id": base_id, **asked}


def follow_model(text: gr.Column, kind: gr.Dropdown, model: str) -> Updates:
    """Show what the chosen model draws from: a text, or a kind of thing."""
    return {text: gr.update(visible=model == TEXT), kind: gr.update(visible=model == PIXELS)}


def _connect(services: Services, missing: gr.HTML) -> None:
    """What does not run here is found when the tab is first opened."""

    def look(request: gr.Request) -> str:
        quantizers = services.studio.registry.quantizers
        reasons = ((method, quantizers.why_not(method)) for method in quantizers.methods)
        return unavailable([(method, reason) for method, reason in reasons if reason is not None], language_of(request))

    services.tab.select(look, None, missing, show_progress="hidden", api_visibility="private")


def comparison(studio: Studio, subjects: Subjects, rows: object, **values: object) -> Comparison:
    """The work of raw values from outside. Raises InvalidInput, and ModelUnavailable for a row without its backend."""
    quantizers = studio.registry.quantizers
    ids = tuple(quantizers.use(one, "rows").id for one in chosen(studio, rows))
    subject = subjects.make(**values)
    distances = Distances.of_subject(studio.settings.models_dir, subject.name)
    return Comparison(subject, ids, distances=distances)


def chosen(studio: Studio, rows: object) -> list[str]:
    """The ids of the rows; one that was typed as the page names it is found by its name."""
    ids = dict(choices(studio.methods))
    return [ids.get(str(one), str(one)) for one in rows] if isinstance(rows, list) else []


def _game(studio: Studio, subjects: Subjects, rows: object, **values: object) -> BlindGame:
    """The first chosen row that is not full precision, against that. Raises InvalidInput where there is none."""
    quantized = next((one for one in chosen(studio, rows) if one != "fp32"), None)
    if quantized is None:
        raise InvalidInput("quant_nothing_to_guess", field="rows")
    return BlindGame(subjects.make(**values), studio.registry.quantizers.use(quantized, "rows").id)


def _told_blind(result: Game, language: str) -> str:
    method, _, bits = result.quant_id.partition("-")
    return blind(result.pairs, f"{method_name(method, language)} {bits.upper()}".strip(), language, random_seed())


def show(found: gr.HTML, event: Event, language: str) -> Iterator[Updates]:
    """What an event changes beside the panel: each row that is finished, also of a comparison that was stopped."""
    match event:
        case Row(values={"rows": rows, "reference": reference, "inside": inside}):
            yield {found: view(reference, rows, inside, "Diffusion Studio", language)}
        case Row() | Queued() | Loading() | Step() | Decoding():
            yield {found: gr.skip()}
        case _:
            yield {}  # the end: the rows are told with it once more


def publish(services: Services, subjects: Subjects, fields: dict[str, Any]) -> None:
    """Offer the same to programs, as the endpoint /quant_compare."""

    def quant_compare(
        request: gr.Request, model: str, prompt: str, kind: str, steps: int, seed: int, rows: list[str]
    ) -> Iterator[tuple[Any, Any]]:
        """Draw one picture with full precision and quantized variants of a model, and measure what they cost.

        Args:
            model: A text-to-image model, which draws the prompt, or pixel-ddpm, which draws the kind.
            prompt: What the picture shows, in English or Chinese.
            kind: One of the world's things, such as cat.
            steps: Denoising steps.
            seed: The same seed gives the same noise.
            rows: Two to six of the methods, such as ["fp32", "openvino_int8", "tdq_ptq-w8a4"].

        Returns:
            All pictures side by side, and a list of rows with their figures; null where nothing is told.
        """
        language, owner = language_of(request), f"api:{request.client.host}"
        values = {"model": model, "prompt": prompt, "kind": kind, "steps": steps, "seed": seed}
        try:
            job = services.studio.jobs.submit(comparison(services.studio, subjects, rows, **values), owner)
        except StudioError as error:
            raise gr.Error(error.message(language), print_exception=False) from error
        try:
            for event in follow(job):
                if (answer := _answer(event, language)) is not None:
                    yield answer
        finally:
            if not job.finished:
                services.studio.jobs.cancel(job.id, owner)

    outputs = [gr.Image(format="png", visible=False, label="pictures"), gr.JSON(visible=False, label="rows")]
    gr.Button(visible=False).click(
        quant_compare,
        [fields[name] for name in ("model", "prompt", "kind", "steps", "seed", "rows")],
        outputs,
        api_name=NAME,
        preprocess=False,
        concurrency_limit=None,
    )


def _answer(event: Event, language: str) -> tuple[Any, Any] | None:
    """What is told to a program of an event. Raises gr.Error for a job that came to no end."""
    match event:
        case Done(result=result):
            return card_of(result.reference, result.rows, "Diffusion Studio"), as_json(result.rows)
        case Row(values={"rows": rows}):
            return None, as_json(rows)
        case Failed():
            raise gr.Error(describe_failure(event, language), print_exception=False)
        case Stopped():
            raise gr.Error(t("phase.stopped", language), print_exception=False)
        case _:
            return None


TAB = Tab(id=NAME, order=50, build=build)
