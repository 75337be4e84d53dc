"""Does the few-step LoRA draw in a few steps what the base draws in many?

Held-out captions are drawn on the same noise by the base with its own settings, by the base in as few steps as the LoRA
takes (with its own sampler and with the LoRA's), and with the LoRA. Told are how well each keeps its prompts, how far
its pictures are from true ones, and how long the studio takes for one, by turns: on a CPU OpenVINO draws the base, and
PyTorch what carries a LoRA.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.build import Studio, build_studio
from studio.engine.folders import tensor_metadata
from studio.engine.generate import Generation
from studio.engine.lora_usage import Usage, usage_of
from studio.errors import GenerationFailed, ModelUnavailable
from studio.evaluate.adapters import PROMPT_MEASURES, accuracy_row, loss_row
from studio.evaluate.ask import Ask
from studio.evaluate.lora import FOLDER, lora_of, lora_view
from studio.evaluate.report import Report, ReportRow
from studio.evaluate.scenes import captions
from studio.evaluate.text2img import Painter, Tally, distance_rows, exact_view, tally_told
from studio.events import Done
from studio.lineage import file_sha256
from studio.perception.measure import METRICS, Measure
from studio.types import Defaults, GenerationRequest, Precision
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

NAME = "few_step"
SAMPLES = {"smoke": 4, "cpu": 256, "gpu": 1024}
ROUNDS = {"smoke": 1, "cpu": 7, "gpu": 15}
MEASURES = (*PROMPT_MEASURES, "style")
MOST_LOSS = {"cpu": 0.05, "gpu": 0.05}
"""Of prompt accuracy, against the base at its own number of steps."""


def run(settings: Any, ask: Ask) -> Report:
    """Draw and measure. Raises ModelUnavailable without the eye or without the LoRA, or where it was trained on another
    base; takes a second a sample on two cores."""
    started, base_id = time.monotonic(), ask.model or "little-world"
    models, count = settings.models_dir, ask.samples or SAMPLES[ask.preset]
    path = lora_of(models / base_id, NAME)
    if path is None:
        raise ModelUnavailable("no_few_step", folder=models / base_id / FOLDER)
    if not (models / "perception" / METRICS).is_file():
        raise ModelUnavailable("no_eye")
    measure, studio = Measure.load(models / "perception"), build_studio(settings)
    try:
        rows = _measured(studio, base_id, path, measure, ask, count)
    finally:
        studio.jobs.close()
    return Report(
        command=f"evaluate few-step --language {ask.language}",
        rows=tuple(rows),
        model_id=f"{base_id}/{FOLDER}/{NAME}",
        model_sha256=file_sha256(path),
        eye=measure.sha256,
        preset=ask.preset,
        device=studio.registry.device,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def ways_of(own: Defaults, usage: Usage) -> dict[str, Defaults]:
    """How the base draws, by what a table calls it: as it is meant to, and in as few steps as the LoRA."""
    few = replace(own, num_inference_steps=usage.steps)
    return {
        f"base, {own.num_inference_steps} steps": own,
        f"base, {usage.steps} steps": few,
        f"base, {usage.steps} steps of {usage.sampler}": replace(few, scheduler=usage.sampler),
    }


def _measured(studio: Studio, base_id: str, path: Path, measure: Measure, ask: Ask, count: int) -> list[ReportRow]:
    """All rows."""
    usage = usage_of(tensor_metadata(path))
    if usage is None:
        raise ModelUnavailable("no_few_step", folder=path.parent)
    first = FIRST_HELD_OUT_SEED + 4_000_000_000 + 1_000_000 * ask.seed
    scenes = [scene_of_seed(first + i) for i in range(count)]
    told = captions(scenes, ask.seed, ask.language)
    own = studio.specs[base_id].defaults
    taught = replace(own, num_inference_steps=usage.steps, guidance_scale=usage.guidance_scale, scheduler=usage.sampler)
    with studio.registry.lease(studio.registry.key(base_id)) as lease:
        painters = {name: Painter(exact_view(lease, way), way, ask.seed) for name, way in ways_of(own, usage).items()}
        painters[f"LoRA, {usage.steps} steps"] = Painter(
            lora_view(lease.components, {NAME: path}, taught), taught, ask.seed
        )
        tallies = {name: tally_told(one, measure, scenes, told) for name, one in painters.items()}
        rows = rows_of(tallies, ask.preset)
        if count > 1:  # one picture has no spread
            rows += distance_rows(tallies, measure, scenes, first + count, own.width)
    for precision in Precision:
        base, lora = replace(own, precision=precision), replace(taught, precision=precision)
        rows += timed(studio, base_id, base, lora, ask.preset)
    return rows


def rows_of(tallies: Mapping[str, Tally], preset: str) -> list[ReportRow]:
    """Prompt accuracy of each way beside the base's own, and what the LoRA loses. The base's own comes first, the LoRA
    last."""
    own, *_, taught = tallies
    rows = [accuracy_row("prompt accuracy", name, one, tallies[own], MEASURES) for name, one in tallies.items()]
    where, most = f"{taught} against {own}", MOST_LOSS.get(preset)
    return [*rows, loss_row("prompt accuracy lost", where, tallies[taught], tallies[own], most, MEASURES)]


def timed(studio: Studio, base_id: str, own: Defaults, taught: Defaults, preset: str) -> list[ReportRow]:
    """Seconds of a picture as people get it: the base's own, the LoRA's, and their ratio; by turns, after one each."""
    seconds: dict[str, list[float]] = {"base": [], "LoRA": []}
    for number in range(ROUNDS[preset] + 1):
        for name, way, tag in (("base", own, ""), ("LoRA", taught, f" <lora:{NAME}:1>")):
            request = GenerationRequest(
                base_id,
                f"a red umbrella and a blue car on the beach{tag}",
                number,
                width=way.width,
                height=way.height,
                num_inference_steps=way.num_inference_steps,
                guidance_scale=way.guidance_scale,
                scheduler=way.scheduler,
                precision=way.precision,
            )
            started = time.perf_counter()
            *_, end = studio.jobs.submit(Generation(request), "evaluate").tail()
            if not isinstance(end, Done):
                raise getattr(end, "error", GenerationFailed("stopped"))
            if number:
                seconds[name].append(time.perf_counter() - started)
    base, lora = (statistics.median(seconds[name]) for name in seconds)
    mode = own.precision.value
    return [
        ReportRow("a picture", base, "s", f"{mode}, base, {own.num_inference_steps} steps"),
        ReportRow("a picture", lora, "s", f"{mode}, LoRA, {taught.num_inference_steps} steps"),
        ReportRow("time", lora / base, "ratio", f"{mode}, LoRA to base", sense="lower"),
    ]
