"""How good is the DDPM on pixels? FD-world against the number of steps, for averaged and last weights, and for the
variances of the steps back; and how often its pictures show the kind that it was told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studio.diffusion.process import to_pixels
from studio.diffusion.samplers import ddim, ddpm
from studio.diffusion.walk import last, spaced
from studio.engine.pixel import CONFIG, RAW, PixelModel
from studio.evaluate.ask import Ask
from studio.evaluate.report import ReportRow, wilson
from studio.perception.measure import METRICS, Measure
from studio.perception.network import ALL_KINDS, SIDE, as_input, frechet_distance
from studio.world.lone import kind_of, lone_of_seed
from studio.world.render import render_image
from studio.world.scene import FIRST_HELD_OUT_SEED

SAMPLES = {"smoke": 8, "cpu": 128, "gpu": 2_048}
STEPS = {"smoke": (2,), "cpu": (5, 10, 20, 50), "gpu": (5, 10, 20, 50, 100, 250)}
ANCESTRAL_STEPS = {"smoke": 2, "cpu": 50, "gpu": 250}
GAMMA, BATCH = 2.0, 64


@dataclass(frozen=True)
class Truth:
    """Held-out pictures of one thing, and as many again to say how near pictures can come."""

    labels: Tensor
    features: Tensor
    floor: float
    kind_share: float


def pixel_rows(models_dir: Path, ask: Ask) -> Iterator[ReportRow]:
    """The rows; none where the DDPM or the eye is not there."""
    folder, eye = models_dir / "ddpm", models_dir / "perception"
    if not (folder / CONFIG).is_file() or not (eye / METRICS).is_file():
        return
    measure, count = Measure.load(eye), ask.samples or SAMPLES[ask.preset]
    average, raw = PixelModel.load(folder), PixelModel.load(folder, RAW)
    truth, many = truth_of(measure, average.side, count, ask.seed), ANCESTRAL_STEPS[ask.preset]
    walks = [(f"fd_world_ddim_{steps}", average, steps, "ddim") for steps in STEPS[ask.preset]]
    walks.append((f"fd_world_raw_ddim_{STEPS[ask.preset][-1]}", raw, STEPS[ask.preset][-1], "ddim"))
    walks += [(f"fd_world_ddpm_{sigma}_{many}", average, many, sigma) for sigma in ("beta", "beta_tilde")]
    for name, model, steps, sigma in walks:
        pictures = drawn(model, truth.labels, steps, sigma, ask.seed)
        features, _ = seen(measure, pictures, truth.labels)
        distance = frechet_distance(features, truth.features)
        yield ReportRow(name, distance, "", f"{count} pictures", ceiling=truth.floor, sense="lower")
    _, told = seen(measure, drawn(average, truth.labels, STEPS[ask.preset][-1], "ddim", ask.seed, GAMMA), truth.labels)
    low, high = wilson(round(told * count), count)
    where = f"gamma {GAMMA:g}, {count} pictures"
    yield ReportRow("pixel_kind_as_told", told, "share", where, low, high, 1 / len(average.classes), truth.kind_share)


def truth_of(measure: Measure, side: int, count: int, seed: int) -> Truth:
    """Two sets of held-out pictures: one to compare with, the other to see how far apart two true sets are."""
    first = FIRST_HELD_OUT_SEED + seed * 100_000
    scenes = [lone_of_seed(first + i) for i in range(2 * count)]
    pictures = np.stack([render_image(scene, side) for scene in scenes])
    labels = torch.tensor([kind_of(scene) for scene in scenes])
    features, share = seen(measure, pictures[:count], labels[:count])
    others, _ = seen(measure, pictures[count:], labels[count:])
    return Truth(labels[:count], features, frechet_distance(others, features), share)


@torch.inference_mode()
def drawn(
    model: PixelModel, labels: Tensor, steps: int, sigma: str, seed: int, gamma: float = 1.0
) -> NDArray[np.uint8]:
    """A picture for each label, from its own noise. sigma: "ddim", or one of DDPM's. (N, side, side, 3)"""
    found, timesteps = [], spaced(model.schedule.T, steps)
    for start in range(0, len(labels), BATCH):
        part = labels[start : start + BATCH]
        x, denoise = model.noise(len(part), seed * 1_000_000 + start), model.denoiser(part, gamma)
        generator = torch.Generator().manual_seed(seed * 1_000_000 + start)
        walk = (
            ddim(denoise, x, timesteps, model.schedule)
            if sigma == "ddim"
            else ddpm(denoise, x, timesteps, model.schedule, generator, sigma)
        )
        found.append(to_pixels(last(walk)).permute(0, 2, 3, 1).numpy())
    return np.concatenate(found)


@torch.inference_mode()
def seen(measure: Measure, pictures: NDArray[np.uint8], labels: Tensor) -> tuple[Tensor, float]:
    """What the eye makes of small pictures, each pixel enlarged: features (N, 192), and the share whose likeliest kind
    is the label."""
    scale, features, right = SIDE // pictures.shape[1], [], 0
    for start in range(0, len(pictures), BATCH):
        large = pictures[start : start + BATCH].repeat(scale, 1).repeat(scale, 2)
        reading = measure.eye(as_input(large))
        features.append(reading.features)
        right += int((reading.kinds[:, : len(ALL_KINDS) - 1].argmax(1) == labels[start : start + BATCH]).sum())
    return torch.cat(features), right / len(pictures)
