"""Why models work in latents: what a step costs there and on pixels, measured on this machine when it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.errors import InvalidInput
from studio.tabs.maths import page
from studio.text import size
from studio.text import t as text
from studio.types import GenerationRequest, Task
from studio.ui.services import Services
from studio.ui.trial import note
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from studio.engine.costs import Costs, PixelsAgainstLatents

FOLDER = "ddpm"
COLUMNS = ("network", "given", "weights", "seconds", "memory")


def work(services: Services) -> PixelsAgainstLatents:
    """What is measured: the first model that draws from text, at its size, and the DDPM on pixels."""
    from studio.engine.costs import PixelsAgainstLatents

    specs = services.studio.specs_for(Task.TEXT_TO_IMAGE)
    if not specs:
        raise InvalidInput("not_a_choice", field="base_id", value="", choices="")
    base_id, spec = next(iter(specs.items()))
    side = spec.native_size
    request = GenerationRequest(base_id, "", page.USUAL_SEED, width=side, height=side)
    return PixelsAgainstLatents(request, services.studio.settings.models_dir / FOLDER)


def told(found: Costs, language: str) -> str:
    """A row for each network, and what a picture comes to."""
    from studio.engine.costs import CALLS, LATENTS, PIXELS, SMALL, STEPS

    head = "".join(f"<th>{plain(text(f'costs.{name}', language))}</th>" for name in COLUMNS)
    rows = "".join(
        f"<tr><td>{plain(text(f'costs.{row.id}', language))}</td><td>{row.shape[1]} × {row.shape[2]} × {row.shape[0]}"
        f"</td><td>{row.parameters / 1e6:.1f} M</td><td>{1000 * row.seconds:.0f} ms</td>"
        f"<td>{size(row.peak_bytes)}</td></tr>"
        for row in found.rows
    )
    whole = {name: f"{found.picture_seconds(name):.2f}" for name in (PIXELS, SMALL, LATENTS)}
    sums = text("costs.picture", language, steps=STEPS, **whole)
    measured = text("costs.measured", language, calls=CALLS, threads=found.threads)
    table = f'<div class="studio-table"><table><tr>{head}</tr>{rows}</table></div>'
    return f"{table}{note(sums)}{note(measured)}"
