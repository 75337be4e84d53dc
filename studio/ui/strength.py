"""How far a picture is changed: the knob, and where on the alpha-bar curve the picture enters the process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.engine.entry import Entry, entry_of
from studio.errors import InvalidInput, StudioError
from studio.text import t
from studio.types import MAX_STEPS, USUAL_STRENGTH, Scheduler, Task
from studio.ui.curve import Axis, Mark, curve_plot
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import INSTANT, plain

if TYPE_CHECKING:
    from studio.build import Studio

STEP = 0.01
CURVE_POINTS = 100
SHARES = ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))


@dataclass(frozen=True)
class Strength:
    """The knob, and below it the plot and what it says in words."""

    slider: gr.Slider
    plot: gr.HTML
    task: Task

    def connect(self, services: Services, fields: dict[str, Any]) -> None:
        """Draw the plot anew whenever a field changes that it depends on, and when the tab is opened."""

        def show(request: gr.Request, *values: Any) -> str:
            return shown(services.studio, self.task, language_of(request), *values)

        inputs = [self.slider, *(fields[name] for name in ("num_inference_steps", "scheduler", "base_id"))]
        for event in (*(widget.change for widget in inputs), services.tab.select):
            event(show, inputs, self.plot, preprocess=False, trigger_mode="always_last", **INSTANT)


def draw_strength(task: Task, prefix: str) -> Strength:
    """The widgets. prefix: of their ids on the page."""
    slider = gr.Slider(
        0, 1, USUAL_STRENGTH[task], step=STEP, label=label("text2img.strength"), info=label(f"{task}.strength_info"),
        elem_id=f"{prefix}-strength",
    )  # fmt: skip
    return Strength(slider, gr.HTML(elem_id=f"{prefix}-entry", elem_classes="studio-entry"), task)


def shown(studio: Studio, task: Task, language: str, strength: Any, total: Any, scheduler: Any, base_id: Any) -> str:
    """The plot of raw values, and its words; or why there is none."""
    try:
        entries = entries_of(studio, strength, total, scheduler, base_id)
    except StudioError as error:
        return f'<p class="studio-note">{plain(describe(error, language))}</p>'
    if entries is None:
        return f'<p class="studio-note">{plain(t("strength.not_loaded", language))}</p>'
    entry, full = entries
    words = [t("strength.entry", language, **_values(entry))]
    if task is Task.INPAINT:
        words += [t("strength.inpaint_noise", language)] if strength == 1 else []
    else:
        words.append(t("strength.leak" if full.signal else "strength.no_leak", language, leak=_small(full.signal)))
    sentences = "".join(f"<p>{plain(sentence)}</p>" for sentence in words)
    return f'{entry_plot(entry, language)}<div class="studio-note">{sentences}</div>'


def entries_of(studio: Studio, strength: Any, total: Any, scheduler: Any, base_id: Any) -> tuple[Entry, Entry] | None:
    """Where a picture enters at this strength, and at strength 1. None while the model is not in memory.

    The default model is on its way there since the studio began: that is waited for; for another none is loaded.
    Raises InvalidInput for values that no request may have.
    """
    steps_ok = isinstance(total, (int, float)) and 1 <= total <= MAX_STEPS
    strength_ok = isinstance(strength, (int, float)) and 0 <= strength <= 1
    if not (steps_ok and strength_ok and isinstance(base_id, str) and scheduler in tuple(Scheduler)):
        raise InvalidInput("bad_number", field="strength", minimum=0, maximum=1, value=str(strength)[:40])
    registry = studio.registry
    key = registry.key(base_id)
    if base_id != next(iter(studio.specs)) and not registry.is_resident(key):
        return None
    with registry.lease(key) as lease:
        one, other = (entry_of(lease.components, Scheduler(scheduler), int(total), share) for share in (strength, 1.0))
    return one, other


def entry_plot(entry: Entry, language: str) -> str:
    """alpha_bar over the timesteps, and the place where the picture enters."""
    last = len(entry.alpha_bars) - 1
    places = [round(index * last / CURVE_POINTS) for index in range(CURVE_POINTS + 1)]
    here = (entry.timestep, entry.signal**2)
    x = Axis(t("strength.x", language), 0, last, [(at, str(round(at))) for at in (0, last / 2, last)])
    y = Axis(t("strength.y", language), 0, 1, SHARES)
    mark = Mark(here, t("strength.mark", language, timestep=entry.timestep, share=f"{here[1]:.3f}"), drop=True)
    title = t("strength.title", language)
    return curve_plot([(place, entry.alpha_bars[place]) for place in places], x, y, title, [mark])


def _values(entry: Entry) -> dict[str, Any]:
    """What the sentence about an entry names."""
    names = {"steps": entry.steps, "total": entry.total, "timestep": entry.timestep}
    return {**names, "last": len(entry.alpha_bars) - 1, "signal": _small(entry.signal), "noise": _small(entry.noise)}


def _small(share: float) -> str:
    """0.628, and 0.00024 rather than 0.000."""
    return f"{share:.3f}" if share >= 0.001 or share == 0 else f"{share:.1g}"
