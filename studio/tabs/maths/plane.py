"""Guidance on the plane: the arrows that add up, and the density that is really sampled beside the "tilted" one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from PIL import Image

from studio.errors import StudioError
from studio.tabs.maths import page
from studio.tabs.maths.page import accepted, note, numbers, refused
from studio.text import t as text
from studio.ui import antd
from studio.ui.figure import Arrows, Axis, Dots, even_ticks, figure
from studio.ui.text import label, language_of
from studio.ui.widgets import INSTANT, KNOB_WIDTH, card

if TYPE_CHECKING:
    from torch import Tensor

    from studio.engine.plane import Plane

Updates = dict[Any, Any]
CLASSES, SAMPLERS = (0, 1, 2), ("ddim", "ddpm", "euler", "heun", "dpmpp_2m")
EDGE, HEIGHT, LAST_TIME = 2.2, 360, 399
ARROW, LONGEST = 0.28, 6.0
"""The length of the longest arrow on the plane, and the score from which on arrows are no longer."""
INK = (15, 130, 122)


@dataclass(frozen=True)
class PlaneSection:
    """The knobs and what they show."""

    wanted: gr.Radio
    gamma: gr.Slider
    time: gr.Slider
    sampler: gr.Dropdown
    alert: antd.Alert
    found: gr.HTML

    def connect(self, opened: gr.Tab) -> None:
        """Wire it: drawn when its tab is opened, and with every change."""
        inputs = [self.wanted, self.gamma, self.time, self.sampler]
        events = [self.wanted.change, self.sampler.change, self.gamma.release, self.time.release, opened.select]
        for event in events:
            event(
                self.show,
                inputs,
                [self.alert, self.found],
                preprocess=False,
                trigger_mode="always_last",
                **INSTANT,
            )

    def show(self, request: gr.Request, wanted: Any, gamma: Any, time: Any, sampler: Any) -> Updates:
        """Both figures and their numbers."""
        from studio.engine.noising import whole
        from studio.engine.plane import plane

        language = language_of(request)
        try:
            wish = (whole("class", wanted, 0, len(CLASSES) - 1), gamma, whole("t", time, 0, LAST_TIME), sampler)
            found = plane(*wish, seed=page.USUAL_SEED)
        except StudioError as error:
            return {self.alert: refused(error, language)}
        return {self.alert: accepted(), self.found: told(found, float(gamma), language)}


def draw_plane() -> PlaneSection:
    """The widgets."""
    with card("maths.card.plane", "maths"):
        page.formula("maths.plane_formula")
        with gr.Row():
            wanted = gr.Radio(
                [(label(f"maths.class.{one}"), one) for one in CLASSES],
                value=1,
                label=label("maths.class"),
                min_width=240,
                elem_id="plane-class",
            )
            sampler = gr.Dropdown(
                list(SAMPLERS), value="ddim", label=label("text2img.scheduler"), min_width=120, elem_id="plane-sampler"
            )
        with gr.Row():
            gamma = gr.Slider(
                -1, 8, 3, step=0.5, label=label("maths.gamma"), min_width=KNOB_WIDTH, elem_id="plane-gamma"
            )
            time = gr.Slider(0, LAST_TIME, 80, step=1, label=label("maths.plane_t"), min_width=KNOB_WIDTH)
        alert = antd.Alert(message="", elem_id="plane-refused", **page.ALERT)
        found = gr.HTML(elem_id="plane-found")
    return PlaneSection(wanted, gamma, time, sampler, alert, found)


def told(found: Plane, gamma: float, language: str) -> str:
    """Arrows on the left, densities on the right, and what can be read off both."""
    x, y = (Axis(name, -EDGE, EDGE, even_ticks(-2, 2)) for name in ("x₁", "x₂"))
    fields = (("plain", found.plain), ("conditional", found.conditional), ("classifier", found.classifier))
    arrows = [
        Arrows(pairs(found.places, score), colour, text(f"maths.arrow.{name}", language))
        for colour, (name, score) in enumerate((*fields, ("guided", found.guided)))
    ]
    left = figure(x, y, text("maths.arrows", language), arrows, ground=heat(found.true), height=HEIGHT)
    dots = Dots([(float(a), float(b)) for a, b in found.drawn], 1, text("maths.dots", language))
    right = figure(x, y, text("maths.densities", language), [dots], ground=heat(found.tilted), height=HEIGHT)
    values = numbers(
        [
            (text("maths.bayes", language), f"{found.identity:.1e}"),
            (text("maths.inside", language), f"{found.inside:.1%}"),
            (text("maths.spread", language), f"{found.spread:.2f}"),
        ]
    )
    return f'<div class="maths-row maths-squares">{left}{right}</div>{values}{note(law(gamma, language))}'


def law(gamma: float, language: str) -> str:
    """The Gaussian law: what is sampled from N(0, 1) within N(0, 2) at this gamma, in three ways of thinking."""
    from studio.diffusion.guidance import ddim_variance, ddpm_variance, tilted_variance

    if gamma <= 0:
        return text("maths.law_needs", language)
    values = {"tilted": tilted_variance(gamma), "ddim": ddim_variance(gamma), "ddpm": ddpm_variance(gamma)}
    return text("maths.law", language, gamma=f"{gamma:g}", **{name: f"{value:.3f}" for name, value in values.items()})


def pairs(places: Tensor, score: Tensor) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """An arrow from each place along the score; beyond LONGEST they are no longer."""
    length = score.norm(dim=1, keepdim=True)
    shift = score / length.clamp(min=1e-9) * ARROW * (length / LONGEST).clamp(max=1)
    ends = places + shift
    return [((float(a), float(b)), (float(c), float(d))) for (a, b), (c, d) in zip(places, ends, strict=True)]


def heat(density: Tensor) -> Image.Image:
    """A density as ink that is thicker where there is more of it."""
    share = (density / density.max()).numpy()
    pixels = np.empty((*share.shape, 4), np.uint8)
    pixels[..., :3] = INK
    pixels[..., 3] = np.round(150 * np.sqrt(share)).astype(np.uint8)
    return Image.fromarray(pixels, "RGBA").resize((288, 288), Image.Resampling.BICUBIC)
