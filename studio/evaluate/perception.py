"""How well does the eye read true pictures? The ceiling of everything it measures."""

from __future__ import annotations

import time
from typing import Any

from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.perception.measure import Measure
from studio.train.perception import accuracies

SAMPLES = {"smoke": 64, "cpu": 2_000, "gpu": 5_000}
TARGET = 0.95


def run(settings: Any, ask: Ask) -> Report:
    """Accuracies on held-out renders of the whole world. Raises ModelUnavailable without the eye."""
    started = time.monotonic()
    folder = settings.models_dir / "perception"
    if not (folder / "metrics.json").is_file():
        raise ModelUnavailable("no_eye")
    measure, count = Measure.load(folder), ask.samples or SAMPLES[ask.preset]
    rows = tuple(
        ReportRow(name, value, "share", "held-out renders", target=None if ask.preset == "smoke" else TARGET)
        for name, value in accuracies(measure.eye, count).items()
    )
    return Report(
        command="evaluate perception",
        rows=rows,
        model_id="perception",
        model_sha256=measure.sha256,
        eye=measure.sha256,
        preset=ask.preset,
        samples=count,
        seconds=time.monotonic() - started,
    )
