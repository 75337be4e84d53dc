"""The measuring eye, trained on renders of the whole world, blurred and shaken: soft pictures shall be read fairly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from studio.perception.measure import WEIGHTS
from studio.perception.network import ALL_KINDS, SIDE, Eye, Reading, as_input
from studio.perception.truth import accuracies, labels_of
from studio.train.artefact import write_ledger_row, write_metrics
from studio.train.data import rendered_anything
from studio.train.muon import MuonWithAdamW
from studio.train.places import MODELS
from studio.train.run import Options, Run, channels_last, launch, warmup_cosine
from studio.world.scene import FIRST_HELD_OUT_SEED, anything_of_seed


@dataclass(frozen=True)
class Preset:
    """pictures: how many are rendered; batch: over all processes."""

    minutes: float
    pictures: int
    batch: int
    learning_rate: float
    muon_rate: float
    ema: float = 0.995
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=64, batch=8, learning_rate=2e-3, muon_rate=1e-2, ema=0.5, max_steps=4),
    "cpu": Preset(minutes=10, pictures=30_000, batch=32, learning_rate=2e-3, muon_rate=1e-2),
    "gpu": Preset(minutes=3, pictures=100_000, batch=256, learning_rate=3e-3, muon_rate=2e-2),
}


def loss_of(reading: Reading, labels: dict[str, Tensor]) -> Tensor:
    """Cross entropies; colours only of the kinds that are there and in styles that show them."""

    def choice(name: str) -> Tensor:
        known = (labels[name] >= 0).sum().clamp(min=1)
        logits: Tensor = getattr(reading, name)
        return F.cross_entropy(logits, labels[name], ignore_index=-1, reduction="sum") / known

    def presence(name: str) -> Tensor:
        logits: Tensor = getattr(reading, name)
        return F.binary_cross_entropy_with_logits(logits, labels[name])

    weight = labels["kinds"][:, :, None] * labels["coloured"][:, None, None]
    pairs = F.binary_cross_entropy_with_logits(reading.pairs, labels["pairs"], weight=weight, reduction="sum")
    chosen = sum(choice(name) for name in ("background", "style", "shirt", "pants", "pose"))
    present = len(ALL_KINDS) * presence("kinds") + presence("person") + presence("character")
    return chosen + present + pairs / weight.sum().clamp(min=1)


def shaken(x: Tensor, rng: np.random.Generator) -> Tensor:
    """One change for the batch: nothing, blur, a lower resolution, or noise; and a slight shift of tone."""
    which = int(rng.integers(4))
    if which == 1:
        sigma = float(rng.uniform(0.5, 1.6))
        taps = torch.exp(-(torch.arange(-3, 4, device=x.device).float() ** 2) / (2 * sigma**2))
        kernel = (taps / taps.sum()).expand(3, 1, 7)
        x = F.conv2d(x, kernel[:, :, None, :], padding=(0, 3), groups=3)
        x = F.conv2d(x, kernel[:, :, :, None], padding=(3, 0), groups=3)
    elif which == 2:
        small = F.interpolate(x, scale_factor=float(rng.uniform(0.4, 0.8)), mode="bilinear", antialias=True)
        x = F.interpolate(small, size=(SIDE, SIDE), mode="bilinear")
    elif which == 3:
        x = x + float(rng.uniform(0.02, 0.1)) * torch.randn_like(x)
    gain, lift = float(rng.uniform(0.92, 1.08)), float(rng.uniform(-0.06, 0.06))
    return (x * gain + lift).clamp(-1, 1)


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("perception", rank, processes, options, preset.minutes, preset.max_steps)
    rng = np.random.default_rng((options.seed, rank, 3))
    if rank == 0:
        rendered_anything(0, preset.pictures, SIDE)
    run.barrier()
    pictures = rendered_anything(0, preset.pictures, SIDE)
    labels = labels_of([anything_of_seed(seed) for seed in range(preset.pictures)])

    torch.manual_seed(options.seed)
    eye = Eye().to(run.device).to(memory_format=torch.channels_last)
    parameters = list(eye.parameters())
    hidden = [p for part in (eye.blocks, eye.context) for p in part.parameters() if p.ndim == 4]
    optimizer = MuonWithAdamW(eye, hidden, preset.muon_rate, preset.learning_rate)
    average = AveragedModel(eye, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    parts = {"eye": eye, "average": average, "optimizer": optimizer}
    run.resume(parts)
    run.begin(parameters, preset)

    while not run.finished:
        picks = np.sort(rng.integers(preset.pictures, size=max(1, preset.batch // processes)))
        x = shaken(as_input(pictures[picks]).to(run.device), rng)
        with run.autocast():
            reading = eye(channels_last(x))
        loss = loss_of(reading, labels.rows(picks, run.device))
        loss.backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(warmup_cosine(run.fraction, run.step, 50, 0.3))
        average.update_parameters(eye)
        run.log(loss=float(loss.detach()))
        if run.checkpoint_due():
            run.save(parts)

    if rank == 0:
        finish(run, preset, cast(Eye, average.module.to("cpu").to(memory_format=torch.contiguous_format).eval()))
    run.barrier()
    run.close()


def finish(run: Run, preset: Preset, eye: Eye) -> None:
    """Measure the ceilings on what is shipped, and write it."""
    folder = (run.options.out or MODELS) / "perception"
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.half().contiguous() for name, tensor in eye.state_dict().items()}
    eye.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    count = 64 if preset.max_steps else 3_000
    scenes = [anything_of_seed(FIRST_HELD_OUT_SEED + i) for i in range(count)]
    metrics = accuracies(eye, rendered_anything(FIRST_HELD_OUT_SEED, count, SIDE), scenes)
    save_file(half, folder / WEIGHTS)
    write_metrics(folder, run, asdict(preset), metrics)
    write_ledger_row(run, "perception", folder, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
