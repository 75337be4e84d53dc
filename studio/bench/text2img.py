"""How much slower is a picture in the studio than in stock diffusers?

Both draw the same request with the same weights in memory, in turn and in changing order, so that whatever else the
machine does meets both. The studio's time is what a person waits: queue, previews, decoding, everything.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from studio.build import Studio, build_studio
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.settings import Settings
from studio.types import Done, Failed, GenerationRequest, PipelineKey, Scheduler, Task

if TYPE_CHECKING:
    from studio.engine.registry import Lease

PAIRS = {"smoke": 3, "cpu": 15, "gpu": 30}
WARM_UPS = 1
MOST_OVER_STOCK = 1.10


def run(settings: Settings, ask: Ask) -> Report:
    """Time `ask.samples` pairs of pictures. Raises StudioError if the model cannot be loaded or drawn with."""
    started = time.perf_counter()
    studio = build_studio(settings)
    request = default_request(studio, ask.model or next(iter(studio.specs)), ask.seed)
    pairs = ask.samples or PAIRS[ask.preset]
    key = studio.registry.key(request.base_id)
    try:
        with studio.registry.lease(key) as lease:
            stock = stock_pipeline(lease, request.scheduler)
            studio_seconds, stock_seconds = interleave(
                lambda: draw_in_studio(studio, request), lambda: draw_in_stock(stock, request), pairs
            )
            sha256 = lease.components.sha256
    finally:
        studio.jobs.close()
    return Report(
        command="bench text2img",
        rows=rows(studio_seconds, stock_seconds, measured_on(request, key)),
        model_id=request.base_id,
        model_sha256=sha256,
        preset=ask.preset,
        device=key.device,
        seed=ask.seed,
        samples=pairs,
        seconds=time.perf_counter() - started,
    )


def default_request(studio: Studio, model_id: str, seed: int) -> GenerationRequest:
    """One picture with the model's own settings. Raises InvalidInput for a model that is not known."""
    defaults = studio.specs[studio.registry.key(model_id).base_id].defaults
    return GenerationRequest(
        model_id,
        "a red house and a tree in the snow",
        seed,
        width=defaults.width,
        height=defaults.height,
        num_inference_steps=defaults.num_inference_steps,
        guidance_scale=defaults.guidance_scale,
        scheduler=defaults.scheduler,
    )


def stock_pipeline(lease: Lease, scheduler: Scheduler) -> Any:
    """diffusers' pipeline over the very same weights, made once and kept, as a script would do it."""
    import diffusers

    from studio.engine.views import build_scheduler

    parts = dict(lease.components.components)
    parts["scheduler"] = build_scheduler(scheduler, parts["scheduler"].config)
    class_name = lease.family.pipeline_classes[Task.TEXT_TO_IMAGE]
    pipeline = getattr(diffusers, class_name)(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw_in_stock(pipeline: Any, request: GenerationRequest) -> None:
    import torch

    pipeline(
        request.prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
    )


def draw_in_studio(studio: Studio, request: GenerationRequest) -> None:
    from studio.engine.generate import Generation

    final = list(studio.jobs.submit(Generation(request), "bench").tail())[-1]
    if isinstance(final, Failed):
        raise final.error
    assert isinstance(final, Done)


def interleave(first: Callable[[], None], second: Callable[[], None], pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of each call of both, warmed up, alternating which of them begins a pair."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(-WARM_UPS, pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            started = time.perf_counter()
            (first, second)[which]()
            if pair >= 0:
                seconds[which].append(time.perf_counter() - started)
    return seconds


def rows(studio_seconds: Sequence[float], stock_seconds: Sequence[float], where: str) -> tuple[ReportRow, ...]:
    """The median ratio of the pairs, and both medians. The ratio is the row that has to hold."""
    ratios = [ours / theirs for ours, theirs in zip(studio_seconds, stock_seconds, strict=True)]
    columns = (
        ("studio_over_stock", ratios, "ratio", MOST_OVER_STOCK),
        ("studio_seconds", studio_seconds, "s", None),
        ("stock_seconds", stock_seconds, "s", None),
    )
    made = []
    for name, values, unit, target in columns:
        low, high = median_interval(values)
        row = ReportRow(name, statistics.median(values), unit, where, low, high, target=target, sense="lower")
        made.append(row)
    return tuple(made)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The distribution-free 95 % interval of the median: order statistics at n/2 -+ 0.98 sqrt(n); all if n < 6."""
    ordered = sorted(values)
    below = max(0, math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))))
    return ordered[below], ordered[-1 - below]


def measured_on(request: GenerationRequest, key: PipelineKey) -> str:
    """What was timed, in a few words."""
    size = f"{request.width}x{request.height}"
    return f"{size}, {request.num_inference_steps} steps of {request.scheduler}, {key.dtype}"
