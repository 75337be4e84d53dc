"""How well does the eye read true pictures? The ceiling of everything it measures."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.perception.measure import METRICS, Measure
from studio.perception.network import SIDE
from studio.perception.truth import accuracies
from studio.world.render import render_image
from studio.world.scene import FIRST_HELD_OUT_SEED, anything_of_seed

SAMPLES = {"smoke": 64, "cpu": 2_000, "gpu": 5_000}
TARGETS = {"cpu": 0.95, "gpu": 0.95}


def run(settings: Any, ask: Ask) -> Report:
    """Accuracies on held-out renders of the whole world. Raises ModelUnavailable without the eye."""
    started = time.monotonic()
    folder = settings.models_dir / "perception"
    if not (folder / METRICS).is_file():
        raise ModelUnavailable("no_eye")
    measure, count = Measure.load(folder), ask.samples or SAMPLES[ask.preset]
    first = FIRST_HELD_OUT_SEED + ask.seed * 100_000
    scenes = [anything_of_seed(first + i) for i in range(count)]
    pictures = np.stack([render_image(scene, SIDE) for scene in scenes])
    rows = tuple(
        ReportRow(name, value, "share", "held-out renders", target=TARGETS.get(ask.preset))
        for name, value in accuracies(measure.eye, pictures, scenes).items()
    )
    return Report(
        command="evaluate perception",
        rows=rows,
        model_id="perception",
        model_sha256=measure.sha256,
        eye=measure.sha256,
        preset=ask.preset,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )
