"""Reverse: the DDPM on pixels walks noise back, step by step; it is learnt by breaking it, and by forking it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from studio.errors import StudioError
from studio.tabs.maths import page
from studio.tabs.maths.page import accepted, note, refused, strip
from studio.tabs.maths.reverse_latent import latent_work, shown_walk, walk_html
from studio.tabs.maths.work import streamed
from studio.text import t as text
from studio.types import MAX_PROMPT_CHARACTERS, Task
from studio.ui import antd
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.widgets import INSTANT, KNOB_WIDTH, card
from studio.world.vocabulary import KINDS

if TYPE_CHECKING:
    from studio.diffusion.walk import Step
    from studio.engine.latent_walking import LatentWalking
    from studio.engine.pixel import PixelModel

Updates = dict[Any, Any]
FOLDER, MILESTONES = "ddpm", "milestones.json"
SAMPLERS, SIGMAS = ("ddpm", "ddim", "euler", "heun", "dpmpp_2m"), ("beta_tilde", "beta", "zero", "misprinted")
SHOWN_STEPS, MOST_STEPS, WALKERS = 10, 250, 8
PIXELS, LATENT = "pixels", "latent"
PROMPT, OTHER_PROMPT = "a red umbrella on the beach", "a blue house in the forest"


@dataclass(frozen=True)
class Reverse:
    """What walks, and its sentences; the knobs, in the order of `Walk`; those of the fork; and what they show.
    pages: of the milestones."""

    family: gr.Radio
    prompts: tuple[gr.Textbox, gr.Textbox]
    walk: tuple[Any, ...]
    fork: tuple[Any, ...]
    start: gr.Button
    part: gr.Button
    alert: antd.Alert
    found: gr.HTML
    milestone: gr.Slider
    sheet: gr.HTML
    pages: tuple[dict[str, Any], ...]

    def connect(self, services: Services, opened: gr.Tab) -> None:
        """Wire it. The network is read when the first walk is asked for."""
        folder = services.studio.settings.models_dir / FOLDER
        events: dict[str, Any] = {"preprocess": False, "show_progress": "minimal", "api_visibility": "private"}
        shared, count = [services.owner, self.family, *self.prompts, *self.walk], len(self.walk)

        def walk(request: gr.Request, *values: Any) -> Iterator[Updates]:
            yield from self.started(services, request, values[:4], values[4:], None)

        def fork(request: gr.Request, *values: Any) -> Iterator[Updates]:
            yield from self.started(services, request, values[:4], values[4 : 4 + count], values[4 + count :])

        outputs = [self.alert, self.found]
        self.start.click(walk, shared, outputs, concurrency_limit=WALKERS, **events)
        self.part.click(fork, [*shared, *self.fork], outputs, concurrency_limit=WALKERS, **events)
        own = [self.walk[0], self.walk[-1], self.fork[1]]

        def choose(family: Any) -> list[Any]:
            latent = family == LATENT
            return [gr.update(visible=latent)] * 2 + [gr.update(visible=not latent)] * len(own)

        self.family.change(choose, self.family, [*self.prompts, *own], preprocess=False, **INSTANT)

        def turn(request: gr.Request, number: Any) -> str:
            return page_of(folder, self.pages, number, language_of(request))

        for event in (self.milestone.input, opened.select):
            event(turn, self.milestone, self.sheet, trigger_mode="always_last", preprocess=False, **INSTANT)

    def started(
        self, services: Services, request: gr.Request, chosen: tuple[Any, ...], values: tuple[Any, ...], fork: Any
    ) -> Iterator[Updates]:
        """A walk on pixels at once, one in latents through the queue. chosen: the owner, the family, both prompts."""
        owner, family, prompt, other = chosen
        if family != LATENT:
            yield self.answer(services.studio.settings.models_dir / FOLDER, request, values, fork)
            return

        def work() -> LatentWalking:
            return latent_work(services.studio.specs_for(Task.TEXT_TO_IMAGE), (prompt, other), values, fork)

        yield from streamed(services, owner, language_of(request), work, shown_walk, (self.alert, self.found))

    def answer(self, folder: Path, request: gr.Request, values: tuple[Any, ...], fork: Any) -> Updates:
        """A walk, and if there is a fork the other one below it."""
        from studio.engine.walking import Walk, forked, walked

        language = language_of(request)
        try:
            model, walk = opened_model(folder), Walk(*values)
            html = told(walked(model, walk), language)
            if fork is not None:
                html += note(text("maths.forked", language, step=fork[0])) + told(forked(model, walk, *fork), language)
        except StudioError as error:
            return {self.alert: refused(error, language)}
        return {self.alert: accepted(), self.found: html}


@lru_cache(maxsize=1)
def opened_model(folder: Path) -> PixelModel:
    """The network of models/ddpm. Raises ModelUnavailable where it is not."""
    from studio.engine.pixel import PixelModel

    return PixelModel.load(folder)


def draw_reverse(services: Services) -> Reverse:
    """The widgets; without the model they say so when they are asked."""
    pages = milestones_in(services.studio.settings.models_dir / FOLDER)
    with card("maths.card.reverse", "maths"):
        page.formula("maths.reverse_formula")
        family, prompt = _draw_family()
        kinds = [(label("maths.kind.any"), "any"), *((label(f"maths.kind.{kind}"), kind) for kind in KINDS)]
        with gr.Row():
            kind = gr.Dropdown(kinds, value="cat", label=label("maths.kind"), min_width=120, elem_id="reverse-kind")
            sampler = gr.Dropdown(list(SAMPLERS), value="ddpm", label=label("text2img.scheduler"), min_width=120)
            sigma = gr.Dropdown(
                [(label(f"maths.sigma.{name}"), name) for name in SIGMAS],
                value="beta_tilde",
                label=label("maths.sigma"),
                min_width=KNOB_WIDTH,
                elem_id="reverse-sigma",
            )
        with gr.Row():
            steps = gr.Slider(
                1, MOST_STEPS, 40, step=1, label=label("maths.steps"), min_width=KNOB_WIDTH, elem_id="reverse-steps"
            )
            gamma = gr.Slider(-1, 8, 2, step=0.5, label=label("maths.gamma"), min_width=KNOB_WIDTH)
            seed = gr.Number(page.USUAL_SEED, precision=0, label=label("text2img.seed"), min_width=100)
        with gr.Row():
            noise = gr.Checkbox(False, label=label("maths.noise_at_last"), min_width=KNOB_WIDTH)
            clip = gr.Checkbox(True, label=label("maths.clip"), min_width=KNOB_WIDTH)
        start = gr.Button(label("maths.walk_back"), variant="primary", elem_id="reverse-start")
        alert = antd.Alert(message="", elem_id="reverse-refused", **page.ALERT)
        with gr.Accordion(label("maths.fork"), open=False):
            with gr.Row():
                at = gr.Number(20, precision=0, label=label("maths.fork_at"), min_width=100)
                other = gr.Dropdown(kinds, value="house", label=label("maths.kind"), min_width=120)
                sentence = gr.Textbox(
                    OTHER_PROMPT,
                    label=label("text2img.prompt"),
                    visible=False,
                    max_length=MAX_PROMPT_CHARACTERS,
                    min_width=KNOB_WIDTH,
                )
                other_gamma = gr.Slider(-1, 8, 2, step=0.5, label=label("maths.gamma"), min_width=KNOB_WIDTH)
                other_seed = gr.Number(8, precision=0, label=label("text2img.seed"), min_width=100)
            part = gr.Button(label("maths.fork_go"), size="sm", elem_id="reverse-fork")
        found = gr.HTML(elem_id="reverse-found")
    milestone, sheet = _draw_milestones(pages)
    knobs = (kind, steps, sampler, sigma, gamma, seed, noise, clip)
    forked = (at, other, other_gamma, other_seed)
    prompts = (prompt, sentence)
    return Reverse(family, prompts, knobs, forked, start, part, alert, found, milestone, sheet, pages)


def _draw_family() -> tuple[gr.Radio, gr.Textbox]:
    """What walks back, and the sentence that the latent one walks to."""
    families = [(label(f"maths.walks.{name}"), name) for name in (PIXELS, LATENT)]
    family = gr.Radio(families, value=PIXELS, label=label("maths.walks"), elem_id="reverse-family")
    prompt = gr.Textbox(
        PROMPT,
        label=label("text2img.prompt"),
        visible=False,
        max_length=MAX_PROMPT_CHARACTERS,
        elem_id="reverse-prompt",
    )
    return family, prompt


def _draw_milestones(pages: tuple[dict[str, Any], ...]) -> tuple[gr.Slider, gr.HTML]:
    """The scrubber over the training, which is there where milestones are."""
    last = max(1, len(pages) - 1)
    with gr.Column(visible=bool(pages)), card("maths.card.milestones", "maths"):
        gr.HTML(label("maths.milestones_hint"), elem_classes="studio-note")
        slider = gr.Slider(0, last, last, step=1, label=label("maths.milestone"), elem_id="reverse-milestone")
        sheet = gr.HTML(elem_id="reverse-sheet")
    return slider, sheet


def milestones_in(folder: Path) -> tuple[dict[str, Any], ...]:
    """What is known of each milestone; nothing where there are none."""
    path = folder / MILESTONES
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ()


def page_of(folder: Path, pages: tuple[dict[str, Any], ...], number: Any, language: str) -> str:
    """One milestone's pictures and what it took to come there."""
    if not pages:
        return ""
    facts = pages[max(0, min(int(number or 0), len(pages) - 1))]
    with Image.open(folder / "milestones" / facts["file"]) as sheet:
        side = sheet.height // 2
        corners = range(0, sheet.width, side)
        rows = [[sheet.crop((x, y, x + side, y + side)) for x in corners] for y in (0, side)]
    named = list(zip((text("maths.average", language), text("maths.raw", language)), rows, strict=True))
    kinds = [text(f"maths.kind.{kind}", language) for kind in KINDS]
    told = {"step": facts["step"], "minutes": f"{facts['seconds'] / 60:.1f}"}
    losses = {"average": f"{facts['loss_ema']:.4f}", "raw": f"{facts['loss_raw']:.4f}"}
    return f"{strip(named, kinds, pixelated=True)}{note(text('maths.milestone_told', language, **told, **losses))}"


def told(steps: list[Step], language: str) -> str:
    """x_t, the guessed noise and the guessed picture at some of the steps, and the finished picture."""
    from studio.engine.latent_walking import evenly
    from studio.engine.noising import to_picture

    chosen = evenly(steps, SHOWN_STEPS)
    xt = [to_picture(step.xt / step.xt.std().clamp(min=1)) for step in chosen]
    eps, x0 = ([to_picture(one) for one in row] for row in zip(*((s.eps / 2, s.x0) for s in chosen), strict=True))
    return walk_html((xt, eps, x0), [step.t for step in chosen], to_picture(steps[-1].next), language, pixelated=True)
