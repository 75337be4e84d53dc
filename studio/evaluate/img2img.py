"""Does strength do what it must? Held-out scenes, drawn from their true renders with their true captions at every
strength.

Towards strength 0 the result is the autoencoder's reconstruction; the difference to the source grows with strength;
at strength 1 the source is forgotten if and only if nothing of it is left, sqrt(alpha_bar_T) = 0. Differences are
root mean squares in levels of 255.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from studio.build import build_studio
from studio.engine.entry import entry_of
from studio.engine.pictures import fitted
from studio.engine.registry import Lease, Registry
from studio.engine.strengths import NEAR_RECONSTRUCTION, Strengths, draw, exchanged, measure
from studio.errors import InvalidInput
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow, bootstrap_mean, wilson
from studio.events import Event
from studio.types import Fit, GenerationRequest, ModelSpec, Scheduler, Task
from studio.world.caption import caption
from studio.world.render import MAX_SIZE, render_image
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

SAMPLES = {"smoke": 1, "cpu": 24, "gpu": 128}
LEAST_RISING = 0.9
"""The share of scenes whose difference grows from every strength to the next."""
LEAST_CHANGE = 1e-6
"""In levels: more than nothing."""


@dataclass(frozen=True)
class Silent:
    """A context that nobody watches."""

    registry: Registry

    def emit(self, event: Event) -> None:
        """Told to nobody."""

    def check_cancelled(self) -> None:
        """Nobody cancels."""

    def yield_device(self) -> None:
        """Nobody else waits."""


def run(settings: Any, ask: Ask) -> Report:
    """Draw every scene at every strength, and measure. Raises InvalidInput for a model that does no such thing."""
    started = time.monotonic()
    studio = build_studio(settings)
    specs = studio.specs_for(Task.IMAGE_TO_IMAGE)
    base_id = ask.model or next(iter(specs))
    if base_id not in specs:
        raise InvalidInput("not_a_choice", field="model", value=base_id[:40], choices=", ".join(specs))
    count = ask.samples or SAMPLES[ask.preset]
    try:
        registry = studio.registry
        with registry.lease(registry.key(base_id)) as lease:
            found = [measure(wish(specs[base_id], ask, index), lease, Silent(registry)) for index in range(count)]
            rows = [*rows_of(found, ask.seed), *left_rows(wish(specs[base_id], ask, 0), lease, registry)]
            sha256 = lease.components.sha256
    finally:
        studio.jobs.close()
    return Report(
        command=f"evaluate img2img --language {ask.language}",
        rows=tuple(rows),
        model_id=base_id,
        model_sha256=sha256,
        preset=ask.preset,
        device=studio.registry.device,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def wish(spec: ModelSpec, ask: Ask, index: int) -> GenerationRequest:
    """Scene `index` as what is drawn from, with the model's own settings."""
    scene = scene_of_seed(FIRST_HELD_OUT_SEED + 1_000_000 * (ask.seed + 1) + index)
    own = spec.defaults
    size = (own.width, own.height)
    picture = Image.fromarray(render_image(scene, min(MAX_SIZE, max(size))))
    return GenerationRequest(
        base_id=spec.id,
        prompt=caption(scene, np.random.default_rng((ask.seed, index)), ask.language, complete=True),
        seed=ask.seed * 1_000 + index,
        task=Task.IMAGE_TO_IMAGE,
        width=own.width,
        height=own.height,
        num_inference_steps=own.num_inference_steps,
        guidance_scale=own.guidance_scale,
        scheduler=own.scheduler,
        init_image=fitted(picture, size, Fit.CROP),
        strength=1.0,
    )


def rows_of(found: Sequence[Strengths], seed: int) -> list[ReportRow]:
    """The curve of the differences, and how it has to run."""
    curve = np.array([[point.to_source for point in one.points] for one in found])  # (scenes, strengths)
    names = [f"strength {point.strength:g}" for point in found[0].points]
    near = [one.points[0].to_reconstruction for one in found]
    far = float(np.mean([one.points[-1].to_reconstruction for one in found]))
    own = float(np.mean([one.reconstruction for one in found]))
    rising = sum(all(low < high for low, high in pairwise(one)) for one in curve)
    means = curve.mean(axis=0)
    return [
        ReportRow(
            "to the reconstruction",
            float(np.mean(near)),
            "levels",
            names[0],
            *bootstrap_mean(near, seed),
            baseline=far,
            target=NEAR_RECONSTRUCTION,
            sense="lower",
        ),
        *(
            ReportRow("to the source", float(mean), "levels", name, *bootstrap_mean(column.tolist(), seed), ceiling=own)
            for name, mean, column in zip(names, means, curve.T, strict=True)
        ),
        ReportRow("smallest rise", float(np.diff(means).min()), "levels", "mean over scenes", target=0.0),
        ReportRow(
            "rises throughout", rising / len(curve), "", "scenes", *wilson(rising, len(curve)), target=LEAST_RISING
        ),
    ]


def left_rows(request: GenerationRequest, lease: Lease, registry: Registry) -> Iterator[ReportRow]:
    """For each sampler, how much of the source is left at strength 1, and by how much the result then changes when the
    source is exchanged for its negative: by nothing, if and only if nothing is left."""
    for scheduler in Scheduler:
        asked = replace(request, scheduler=scheduler)
        left = entry_of(lease.components, scheduler, asked.num_inference_steps, 1.0).signal
        change = exchanged(asked, draw(asked, lease, Silent(registry)), lease, Silent(registry))
        yield ReportRow("left at strength 1", left, "sqrt(alpha_bar)", scheduler.value)
        target: dict[str, Any] = {"target": LEAST_CHANGE} if left else {"target": 0.0, "sense": "lower"}
        yield ReportRow("changed by its negative", change, "levels", scheduler.value, **target)
