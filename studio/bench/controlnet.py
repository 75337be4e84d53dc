"""How long does a picture that a map steers take in the studio, against stock diffusers on the same weights?

Both draw the same request in turn and in changing order. The studio's time is what a person waits. What is loaded is
looked at as well: a steered picture shares its base with every other one, and nothing of it is read again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.bench.text2img import FEWEST_DECIBELS, default_request, draw_in_stock, draw_in_studio, measured_on, psnr
from studio.bench.timing import interleave, median_row, ratio_row
from studio.build import Studio, build_studio
from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.settings import Settings
from studio.types import ControlUse, GenerationRequest, ModelSpec, Precision, Task
from studio.world.maps import depth_map
from studio.world.render import render
from studio.world.scene import scene_of_seed

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.engine.registry import Lease

ROUNDS = {"smoke": 2, "cpu": 11, "gpu": 30}
KIND = "depth"
MOST_OF_STOCK = {Precision.EXACT: 0.7, Precision.FAST: None}


def run(settings: Settings, ask: Ask) -> Report:
    """Time `ask.samples` rounds. Raises ModelUnavailable if the ControlNet is not there."""
    started = time.perf_counter()
    studio = build_studio(settings)
    plain = default_request(studio, ask.model or next(iter(studio.specs)), ask.seed)
    spec = controlnet_of(studio, studio.specs[plain.base_id].family)
    picture = true_map(ask.seed, plain.width, plain.height)
    request = replace(plain, controls=(ControlUse(KIND, spec.id, (picture,)),))
    rounds = ask.samples or ROUNDS[ask.preset]
    try:
        with studio.registry.lease(studio.registry.key(plain.base_id)) as base:
            rows = [loaded_row(studio, base, request)]
            with studio.registry.lease_for(request) as lease:
                rows += timed(studio, lease, request, rounds)
                sha256 = base.components.sha256
    finally:
        studio.jobs.close()
    return Report(
        command="bench controlnet",
        rows=tuple(rows),
        model_id=f"{plain.base_id} + {spec.id}",
        model_sha256=sha256,
        preset=ask.preset,
        device=base.pipeline.device,
        seed=ask.seed,
        samples=rounds,
        seconds=time.perf_counter() - started,
    )


def controlnet_of(studio: Studio, family: str) -> ModelSpec:
    """A family's ControlNet for depth. Raises ModelUnavailable where there is none."""
    for control in studio.controls:
        for spec in control.specs:
            if control.id == KIND and spec.family == family:
                return spec
    raise ModelUnavailable("no_controlnet", model=family, kind=KIND)


def true_map(seed: int, width: int, height: int) -> Image:
    """Depth of a scene."""
    from PIL import Image

    nearness = np.asarray(render(scene_of_seed(seed), 128).depth, np.float32)
    return Image.fromarray(depth_map(nearness)).resize((width, height))


def loaded_row(studio: Studio, base: Lease, request: GenerationRequest) -> ReportRow:
    """How many models a steered picture has to read beside its base, which is resident: the ControlNet alone."""
    before = studio.registry.snapshot().misses
    draw_in_studio(studio, request)
    loaded = studio.registry.snapshot().misses - before
    return ReportRow("models_loaded", loaded, "models", "beside a resident base", target=1.0, sense="lower")


def timed(studio: Studio, lease: Lease, request: GenerationRequest, rounds: int) -> list[ReportRow]:
    """Rows of the share of stock's time, of a step's seconds, and of how near both pictures are."""
    stock = lease.view(Task.TEXT_TO_IMAGE, request.scheduler)  # diffusers' own pipeline over the same weights
    options: dict[str, Any] = {"image": request.controls[0].images[0]}
    ways: dict[str, Any] = {"stock": lambda: draw_in_stock(stock, request, **options)}
    ways |= {one: partial(draw_in_studio, studio, replace(request, precision=one)) for one in Precision}
    spent = interleave(ways, rounds)
    where, steps = measured_on(request, lease.pipeline), request.num_inference_steps
    on_cpu = lease.pipeline.device == "cpu"
    expected, rows = draw_in_stock(stock, request, **options), []
    for one in Precision:
        most = MOST_OF_STOCK[one] if on_cpu else None
        rows.append(ratio_row(f"{one}_over_stock", spent[one].seconds, spent["stock"].seconds, where, most))
        cpu_spent = spent[one].cpu_seconds, spent["stock"].cpu_seconds
        rows.append(ratio_row(f"{one}_cpu_over_stock", *cpu_spent, "processor time"))
        result = draw_in_studio(studio, replace(request, precision=one))
        decibels = psnr(expected, result.images[0])
        rows.append(
            ReportRow(f"{one}_psnr", decibels, "dB", f"one picture, {result.backend}", target=FEWEST_DECIBELS[one])
        )
    per_step = ((name, [seconds / steps for seconds in one.seconds]) for name, one in spent.items())
    return [*rows, *(median_row(f"{name}_step_seconds", seconds, "s", where) for name, seconds in per_step)]
