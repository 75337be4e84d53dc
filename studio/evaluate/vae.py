"""How much does the autoencoder lose? PSNR of its reconstructions of held-out pictures, by style."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny

from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow, bootstrap_mean, folder_sha256
from studio.world.render import render_image
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed
from studio.world.vocabulary import STYLES

SAMPLES = {"smoke": 16, "cpu": 512, "gpu": 2_048}
TARGETS = {"cpu": 26.0, "gpu": 30.0}
SIZE = 128


@torch.inference_mode()
def run(settings: Any, ask: Ask) -> Report:
    """Reconstruct held-out scenes. Raises ModelUnavailable without the autoencoder."""
    started = time.monotonic()
    folder = settings.models_dir / (ask.model or "little-world") / "vae"
    if not folder.is_dir():
        raise ModelUnavailable("no_vae")
    vae = AutoencoderTiny.from_pretrained(folder, dtype=torch.float32)
    count = ask.samples or SAMPLES[ask.preset]
    by_style: dict[str, list[float]] = {style: [] for style in STYLES}
    for i in range(count):
        scene = scene_of_seed(FIRST_HELD_OUT_SEED + 500_000 + ask.seed * 100_000 + i)
        x = torch.from_numpy(render_image(scene, SIZE)).permute(2, 0, 1)[None].float() / 127.5 - 1
        mse = float(((vae(x).sample.clamp(-1, 1) - x) / 2).square().mean())
        by_style[scene.style].append(-10 * float(np.log10(mse)))
    everything = [value for values in by_style.values() for value in values]
    rows = [_row("all styles", everything, ask.seed, TARGETS.get(ask.preset))]
    rows += [_row(style, values, ask.seed, None) for style, values in by_style.items() if values]
    return Report(
        command="evaluate vae",
        rows=tuple(rows),
        model_id=f"{ask.model or 'little-world'}/vae",
        model_sha256=folder_sha256(folder),
        preset=ask.preset,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def _row(where: str, values: list[float], seed: int, target: float | None) -> ReportRow:
    low, high = bootstrap_mean(values, seed)
    return ReportRow("PSNR", float(np.mean(values)), "dB", where, low, high, target=target)
