"""How long does a picture take in the studio, against stock diffusers and against what its networks alone take?

All draw the same request with the same weights in memory, in turn and in changing order, so that whatever else the
machine does meets all of them. The studio's time is what a person waits: queue, previews, decoding, everything. The
floor is the UNet's and the decoder's calls by the same backend, and nothing else. How near the studio's pictures are
to stock's is measured on several prompts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from studio.bench.timing import Seconds, interleave, median_row, ratio_row
from studio.build import Studio, build_studio
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.events import Done, Failed, GenerationResult
from studio.settings import Settings
from studio.types import GenerationRequest, PipelineKey, Precision, Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.engine.registry import Lease

ROUNDS = {"smoke": 3, "cpu": 15, "gpu": 30}
PICTURES = {"smoke": 2, "cpu": 12, "gpu": 12}
MOST_OVER_FLOOR = 1.05
# At equal steps on a CPU with two cores, of stock's time; and decibels to stock's picture.
MOST_OF_STOCK = {Precision.EXACT: 0.5, Precision.FAST: 0.38}
FEWEST_DECIBELS = {Precision.EXACT: 40.0, Precision.FAST: 30.0}
LARGEST_PSNR = 100.0
"""In decibels; equal pictures would have an infinite one."""
PROMPTS = (
    "a red house and a tree in the snow",
    "two yellow cats on the beach, watercolour",
    "一只蓝色的鸟在森林里",
    "a person in a green coat beside a car, neon",
)


def run(settings: Settings, ask: Ask) -> Report:
    """Time `ask.samples` rounds of pictures. Raises StudioError if the model cannot be loaded or drawn with."""
    started = time.perf_counter()
    studio = build_studio(settings)
    request = default_request(studio, ask.model or next(iter(studio.specs)), ask.seed)
    rounds = ask.samples or ROUNDS[ask.preset]
    key = studio.registry.key(request.base_id)
    try:
        with studio.registry.lease(key) as lease:
            rows = [*timed(studio, lease, request, rounds), *compared(studio, lease, request, PICTURES[ask.preset])]
            sha256 = lease.components.sha256
    finally:
        studio.jobs.close()
    return Report(
        command="bench text2img",
        rows=tuple(rows),
        model_id=request.base_id,
        model_sha256=sha256,
        preset=ask.preset,
        device=key.device,
        seed=ask.seed,
        samples=rounds,
        seconds=time.perf_counter() - started,
    )


def default_request(studio: Studio, model_id: str, seed: int) -> GenerationRequest:
    """One picture with the model's own settings. Raises InvalidInput for a model that is not known."""
    defaults = studio.specs[studio.registry.key(model_id).base_id].defaults
    return GenerationRequest(
        model_id,
        PROMPTS[0],
        seed,
        width=defaults.width,
        height=defaults.height,
        num_inference_steps=defaults.num_inference_steps,
        guidance_scale=defaults.guidance_scale,
        scheduler=defaults.scheduler,
    )


def timed(studio: Studio, lease: Lease, request: GenerationRequest, rounds: int) -> Iterator[ReportRow]:
    """Rows of seconds, of the studio's share of stock's, and of what it adds to the floor, for each precision."""
    stock = lease.view(Task.TEXT_TO_IMAGE, request.scheduler)  # diffusers' own pipeline over the same weights
    ways: dict[str, Callable[[], object]] = {"stock": lambda: draw_in_stock(stock, request)}
    for precision in Precision:
        asked = replace(request, precision=precision)
        ways[precision] = partial(draw_in_studio, studio, asked)
        ways[f"{precision}_floor"] = Floor(lease, asked)
    spent = interleave(ways, rounds)
    where = measured_on(request, lease.pipeline)
    on_cpu = lease.pipeline.device == "cpu"
    for precision in Precision:
        most = MOST_OF_STOCK[precision] if on_cpu else None
        own, stock_spent, floor = spent[precision], spent["stock"], spent[f"{precision}_floor"]
        yield ratio_row(f"{precision}_over_stock", own.seconds, stock_spent.seconds, where, most)
        yield ratio_row(f"{precision}_cpu_over_stock", own.cpu_seconds, stock_spent.cpu_seconds, "processor time")
        yield ratio_row(f"{precision}_over_floor", own.seconds, floor.seconds, where, MOST_OVER_FLOOR)
    for name, one in spent.items():
        yield median_row(f"{name}_seconds", one.seconds, "s", where)


def compared(studio: Studio, lease: Lease, request: GenerationRequest, pictures: int) -> Iterator[ReportRow]:
    """Rows of the lowest PSNR of the studio's pictures to stock's, and its range, for each precision."""
    stock = lease.view(Task.TEXT_TO_IMAGE, request.scheduler)
    decibels: dict[Precision, Seconds] = {precision: [] for precision in Precision}
    backend: dict[Precision, str] = {}
    for index in range(pictures):
        own = replace(request, prompt=PROMPTS[index % len(PROMPTS)], seed=request.seed + index)
        expected = draw_in_stock(stock, own)
        for precision in Precision:
            result = draw_in_studio(studio, replace(own, precision=precision))
            decibels[precision].append(psnr(expected, result.images[0]))
            backend[precision] = result.backend
    for precision, values in decibels.items():
        where = f"lowest of {pictures} pictures, {backend[precision]}"
        least = FEWEST_DECIBELS[precision]
        yield ReportRow(f"{precision}_psnr", min(values), "dB", where, min(values), max(values), target=least)


class Floor:
    """The UNet's and the decoder's calls of one picture, by what the studio draws it with, and nothing else."""

    def __init__(self, lease: Lease, request: GenerationRequest) -> None:
        from studio.engine.backends import install

        view = lease.view(Task.TEXT_TO_IMAGE, request.scheduler)
        install(view, request.precision, lease)
        self._unet, self._vae = view.unet, view.vae
        self._calls: list[tuple[Any, Any]] = []
        view.unet = _Recorded(view.unet, self._calls)
        self._latents = draw_in_stock(view, request, output_type="latent") / view.vae.config.scaling_factor

    def __call__(self) -> None:
        import torch

        with torch.inference_mode():
            for values, named in self._calls:
                self._unet(*values, **named)
            self._vae.decode(self._latents[None], return_dict=False)
            if self._latents.is_cuda:
                torch.cuda.synchronize()


class _Recorded:
    """A module that writes down what it is called with."""

    def __init__(self, module: Any, calls: list[tuple[Any, Any]]) -> None:
        self._module, self._calls = module, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __call__(self, *values: Any, **named: Any) -> Any:
        self._calls.append((values, named))
        return self._module(*values, **named)


def draw_in_stock(pipeline: Any, request: GenerationRequest, **options: Any) -> Any:
    """The picture, as a script draws it with diffusers alone."""
    import torch

    return pipeline(
        request.prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        **options,
    ).images[0]


def draw_in_studio(studio: Studio, request: GenerationRequest) -> GenerationResult:
    from studio.engine.generate import Generation

    final = list(studio.jobs.submit(Generation(request), "bench").tail())[-1]
    if isinstance(final, Failed):
        raise final.error
    assert isinstance(final, Done)
    result: GenerationResult = final.result
    return result


def psnr(expected: Image, picture: Image) -> float:
    """Peak signal-to-noise ratio in decibels, 10 log10(255^2 / mean squared difference), at most LARGEST_PSNR."""
    import numpy as np

    difference = np.asarray(expected, np.float64) - np.asarray(picture, np.float64)
    mean_square = max(float(np.mean(difference**2)), 255.0**2 / 10 ** (LARGEST_PSNR / 10))
    return float(10 * np.log10(255.0**2 / mean_square))


def measured_on(request: GenerationRequest, key: PipelineKey) -> str:
    """What was timed, in a few words."""
    size = f"{request.width}x{request.height}"
    return f"{size}, {request.num_inference_steps} steps of {request.scheduler}, {key.dtype}"
