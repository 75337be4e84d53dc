"""Is the maths right, and what does it draw? Every check of the maths room, every sampler and schedule beside
diffusers; and where the DDPM on pixels is there, how near its pictures come to true ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from studio.checks import CHECKS, Check, Subject, subject
from studio.evaluate.against_diffusers import CHECKS as AGAINST_DIFFUSERS
from studio.evaluate.ask import Ask
from studio.evaluate.pixel import pixel_rows
from studio.evaluate.report import Report, ReportRow


def run(settings: Any, ask: Ask) -> Report:
    """Each check's value, with its tolerance as the target and its source beside it. The seed draws what is drawn."""
    started = time.monotonic()
    rows = check_rows((*CHECKS, *AGAINST_DIFFUSERS), subject(seed=ask.seed))
    rows += tuple(pixel_rows(settings.models_dir, ask))
    return Report(
        command="evaluate diffusion",
        rows=rows,
        preset=ask.preset,
        seed=ask.seed,
        samples=len(rows),
        seconds=time.monotonic() - started,
    )


def check_rows(checks: Sequence[Check], on: Subject) -> tuple[ReportRow, ...]:
    """A row for each check: lower is better, down to its tolerance."""
    lights = [(check, check.run(on)) for check in checks]
    return tuple(
        ReportRow(check.id, light.value, where=check.source, target=light.tolerance, sense="lower")
        for check, light in lights
    )
