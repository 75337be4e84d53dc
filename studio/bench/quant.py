"""What does a quantized model gain, and what does it lose, against float32 and bfloat16 by PyTorch?

Every real method that runs here draws the same request, in turn and in changing order, so that whatever else the
machine does meets all of them. A time is what a person waits for a picture: queue, previews, decoding, everything.
Sizes are those of the UNet's file, really written; pictures are compared at the same seeds. Simulated methods compute
in full precision, so that they have no place here; TDQ on real kernels has, layer by layer: `quant_kernels`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from studio.bench.quant_kernels import kernel_rows
from studio.bench.text2img import PROMPTS, default_request, draw_in_studio, measured_on
from studio.bench.timing import Seconds, interleave, median_row, ratio_row
from studio.build import Studio, build_studio
from studio.engine.comparison import disk_bytes, likeness
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.settings import Settings
from studio.types import GenerationRequest

ROUNDS = {"smoke": 2, "cpu": 11, "gpu": 30}
PICTURES = {"smoke": 2, "cpu": 12, "gpu": 12}
FULL, HALF, INT8 = "fp32", "bf16", "int8"
# Of the best int8 row on a CPU with two cores and VNNI: of the time and the size of float32, and decibels to it.
MOST_TIME, MOST_SIZE, FEWEST_DECIBELS = 0.5, 0.3, 30.0


@dataclass(frozen=True)
class Found:
    """Of one method: seconds of each round, the bytes of its file, decibels of each picture to float32's."""

    seconds: Seconds
    disk_bytes: int
    decibels: Sequence[float]


def run(settings: Settings, ask: Ask) -> Report:
    """Time `ask.samples` rounds of pictures. Raises StudioError if the model cannot be loaded or drawn with."""
    started = time.perf_counter()
    studio = build_studio(settings)
    rounds = ask.samples or ROUNDS[ask.preset]
    try:
        request = default_request(studio, ask.model or next(iter(studio.specs)), ask.seed)
        key = studio.registry.key(request.base_id)
        names = running(studio)
        with studio.registry.lease_all([studio.registry.key(request.base_id, name) for name in names]) as leases:
            sizes = {
                name: disk_bytes(one.components.components["unet"]) for name, one in zip(names, leases, strict=True)
            }
            ways = {name: partial(draw_in_studio, studio, replace(request, quant_id=name)) for name in names}
            spent = interleave(ways, rounds)
            near = decibels(studio, request, names, PICTURES[ask.preset])
            sha256 = leases[0].components.sha256
        found = {name: Found(spent[name].seconds, sizes[name], near[name]) for name in names}
        on_cpu = key.device == "cpu"
        rows = [*told(found, measured_on(request, key)), *best(found, measured_on(request, key), on_cpu)]
        if on_cpu:
            rows += kernel_rows(settings.models_dir / "ddpm", rounds)
    finally:
        studio.jobs.close()
    return Report(
        command="bench quant",
        rows=tuple(rows),
        model_id=request.base_id,
        model_sha256=sha256,
        preset=ask.preset,
        device=key.device,
        seed=ask.seed,
        samples=rounds,
        seconds=time.perf_counter() - started,
    )


def running(studio: Studio) -> list[str]:
    """The real methods that run on this machine, float32 first."""
    quantizers = studio.registry.quantizers
    return [one.id for one in quantizers.methods.values() if not one.simulated and quantizers.why_not(one.id) is None]


def decibels(studio: Studio, request: GenerationRequest, names: Sequence[str], pictures: int) -> dict[str, list[float]]:
    """The PSNR of each method's pictures to those of float32, at the same prompts and seeds."""
    wishes = [
        replace(request, prompt=PROMPTS[index % len(PROMPTS)], seed=request.seed + index) for index in range(pictures)
    ]
    drawn = {
        name: [draw_in_studio(studio, replace(wish, quant_id=name)).images[0] for wish in wishes] for name in names
    }
    return {
        name: [likeness(picture, own)[0] for picture, own in zip(pictures, drawn[FULL], strict=True)]
        for name, pictures in drawn.items()
    }


def told(found: Mapping[str, Found], where: str) -> Iterator[ReportRow]:
    """Rows of every method: seconds, shares of float32's and bfloat16's, the file's size and share, the lowest PSNR."""
    full, half = found[FULL], found[HALF]
    for name, one in found.items():
        yield median_row(f"{name}_seconds", one.seconds, "s", where)
        if name != FULL:
            yield ratio_row(f"{name}_over_fp32", one.seconds, full.seconds, where)
        if name not in (FULL, HALF):
            yield ratio_row(f"{name}_over_bf16", one.seconds, half.seconds, where)
        yield ReportRow(f"{name}_megabytes", one.disk_bytes / 1e6, "MB", "the UNet's file")
        yield ReportRow(f"{name}_size_over_fp32", one.disk_bytes / full.disk_bytes, "ratio", "the UNet's file")
        if name != FULL:
            yield nearness(f"{name}_psnr", one.decibels, None)


def best(found: Mapping[str, Found], where: str, on_cpu: bool) -> Iterator[ReportRow]:
    """The same of the fastest int8 method, against what it has to reach on a CPU."""
    eights = {name: one for name, one in found.items() if INT8 in name}
    if not eights:
        return
    name = min(eights, key=lambda one: statistics.median(eights[one].seconds))
    one, full = found[name], found[FULL]
    most = (MOST_TIME, MOST_SIZE) if on_cpu else (None, None)
    yield ratio_row("best_int8_over_fp32", one.seconds, full.seconds, f"{name}, {where}", most[0])
    yield ReportRow(
        "best_int8_size_over_fp32",
        one.disk_bytes / full.disk_bytes,
        "ratio",
        f"{name}, the UNet's file",
        target=most[1],
        sense="lower",
    )
    yield nearness("best_int8_psnr", one.decibels, FEWEST_DECIBELS if on_cpu else None)


def nearness(name: str, values: Sequence[float], target: float | None) -> ReportRow:
    """The lowest PSNR of some pictures, and its range."""
    where = f"lowest of {len(values)} pictures"
    return ReportRow(name, min(values), "dB", where, min(values), max(values), target=target)
