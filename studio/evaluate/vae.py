"""How much does the autoencoder lose? PSNR of its reconstructions of held-out pictures, and whether the eye still
reads their styles."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny

from studio.diffusion.similarity import psnr
from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow, bootstrap_mean, folder_sha256
from studio.perception.measure import Measure
from studio.perception.network import ALL_STYLES, as_input
from studio.world.render import render_image
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed
from studio.world.vocabulary import STYLES

SAMPLES = {"smoke": 16, "cpu": 512, "gpu": 2_048}
TARGETS = {"cpu": 26.0, "gpu": 30.0}
STYLE_TARGET = 0.95
SIZE, BATCH = 128, 16


@torch.inference_mode()
def run(settings: Any, ask: Ask) -> Report:
    """Reconstruct held-out scenes. Raises ModelUnavailable without the autoencoder."""
    started = time.monotonic()
    folder = settings.models_dir / (ask.model or "little-world") / "vae"
    if not folder.is_dir():
        raise ModelUnavailable("no_vae")
    vae = AutoencoderTiny.from_pretrained(folder, dtype=torch.float32)
    count = ask.samples or SAMPLES[ask.preset]
    measure = Measure.load(settings.models_dir / "perception")
    scenes = [scene_of_seed(FIRST_HELD_OUT_SEED + 500_000 + ask.seed * 100_000 + i) for i in range(count)]
    decibels: dict[str, list[float]] = {style: [] for style in STYLES}
    read: dict[str, list[float]] = {style: [] for style in STYLES}
    for start in range(0, count, BATCH):
        some = scenes[start : start + BATCH]
        x = as_input(np.stack([render_image(scene, SIZE) for scene in some]))
        y = vae(x).sample.clamp(-1, 1)
        styles = measure.eye(y).style.argmax(1).tolist()
        for scene, value, style in zip(some, psnr(y, x).tolist(), styles, strict=True):
            decibels[scene.style].append(value)
            read[scene.style].append(float(ALL_STYLES[style] == scene.style))
    trained_for = ask.preset in TARGETS
    rows = [
        *_rows("PSNR", "dB", decibels, ask.seed, TARGETS.get(ask.preset), None),
        *_rows("style read", "", read, ask.seed, STYLE_TARGET if trained_for else None, measure.ceilings["style"]),
    ]
    return Report(
        command="evaluate vae",
        rows=tuple(rows),
        model_id=f"{ask.model or 'little-world'}/vae",
        eye=measure.sha256,
        model_sha256=folder_sha256(folder),
        preset=ask.preset,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def _rows(
    name: str, unit: str, by_style: dict[str, list[float]], seed: int, target: float | None, ceiling: float | None
) -> list[ReportRow]:
    """A row over all styles, which has the target, and one for each style that was met."""
    everything = {"all styles": [value for values in by_style.values() for value in values]}
    return [
        ReportRow(
            name,
            float(np.mean(values)),
            unit,
            where,
            *bootstrap_mean(values, seed),
            ceiling=ceiling,
            target=target if where in everything else None,
        )
        for where, values in {**everything, **by_style}.items()
        if values
    ]
