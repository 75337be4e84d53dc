"""What does quantization cost a text-to-image model? Simulated methods at some bits, and the real ones that run here,
beside full precision from the same noise, on held-out captions of the little world."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from studio.build import build_studio, offered
from studio.engine.calibration import calls_of
from studio.evaluate.ask import Ask
from studio.evaluate.quant_measures import Drawn, Judge, bits_name, gain_rows, rows_of, say
from studio.evaluate.quant_walks import Real, TextWalks
from studio.evaluate.report import Report
from studio.evaluate.scenes import captions, render_features
from studio.evaluate.text2img import Painter
from studio.perception.measure import Measure
from studio.quant.method import QuantMethod, Recipe
from studio.quant.methods import running
from studio.quant.prompts import PROMPTS
from studio.quant.simulated_methods import SIMULATED
from studio.types import Task
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, scene_of_seed

BITS = {
    "smoke": ((8, 8),),
    "cpu": ((8, 8), (8, 6), (8, 4)),
    "gpu": ((8, 8), (8, 6), (8, 5), (8, 4), (4, 8)),
}
SAMPLES = {"smoke": 2, "cpu": 32, "gpu": 512}
CALIBRATED = {"smoke": 1, "cpu": 4, "gpu": len(PROMPTS)}
"""How many prompts are drawn to calibrate on."""
METHODS = ("mse", "per_interval", "tdq_ptq")


def is_text(settings: Any, model_id: str | None) -> bool:
    """Whether a model is one that draws from texts, by the catalog."""
    if model_id is None:
        return False
    specs = {spec.id: spec for family in offered(settings) for spec in family.specs}
    return model_id in specs and Task.TEXT_TO_IMAGE in specs[model_id].tasks


def run(settings: Any, ask: Ask) -> Report:
    """The rows. Raises ModelUnavailable, and InvalidInput for a model that cannot be quantized."""
    started = time.monotonic()
    assert ask.model is not None
    eye, studio = Measure.load(settings.models_dir / "perception"), build_studio(settings)
    count = ask.samples or SAMPLES[ask.preset]
    try:
        with studio.registry.lease(studio.registry.key(ask.model)) as lease:
            spec, family = studio.specs[ask.model], lease.family
            calls = calls_of(lease.components, family, PROMPTS[: CALIBRATED[ask.preset]])
            painter = Painter(lease.view(Task.TEXT_TO_IMAGE, spec.defaults.scheduler), spec.defaults, ask.seed)
            scenes, real = truth(eye, count, ask.seed, spec.defaults.width)
            prompts = [text for text, _ in captions(scenes, ask.seed, ask.language)]
            judge = Judge(TextWalks(eye, painter, prompts), painter.view.unet, real, ask.seed)
            rows, kept = [*judge.full_rows()], dict[str, Drawn]()
            for name, method, recipe in asked(ask, calls, studio.registry.device):
                kept[name] = judge.drawn(method.apply(judge.net, recipe))
                rows += rows_of(name, kept[name], judge)
                say(f"{name}: PSNR {float(kept[name].psnr.mean()):.2f} dB", started)
            sha256 = lease.components.sha256
    finally:
        studio.jobs.close()
    return Report(
        command=f"evaluate quant --model {ask.model}",
        rows=(*rows, *gain_rows(kept, ask.seed)),
        model_id=ask.model,
        model_sha256=sha256,
        eye=eye.sha256,
        preset=ask.preset,
        device=studio.registry.device,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def asked(ask: Ask, calls: Any, device: str) -> Iterator[tuple[str, QuantMethod, Recipe]]:
    """The real methods that run on a device, then simulated ones at every number of bits, by name."""
    for method in running(device):
        yield method.id, method, Recipe(method.weight_bits[0], method.activation_bits[0], calls)
    for bits in BITS[ask.preset]:
        for method in SIMULATED:
            if method.id in METHODS:
                yield f"{bits_name(*bits)} {method.id}", method, Recipe(*bits, calls)


def truth(eye: Measure, count: int, seed: int, size: int) -> tuple[list[Scene], Real]:
    """Held-out scenes, what the eye makes of their renders, and how far the renders of others are from them."""
    first = FIRST_HELD_OUT_SEED + 1_000_000 * (seed + 1)
    scenes, others = ([scene_of_seed(start + i) for i in range(count)] for start in (first, first + count))
    return scenes, Real.of(render_features(eye, scenes, size), render_features(eye, others, size))
