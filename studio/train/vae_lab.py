"""Small autoencoders with codes of two numbers, side by side on the same pictures: a plain one, and variational ones
that pay differently for codes that are not N(0, I)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from studio.diffusion.vae import Autoencoder, kl_to_standard_normal, vae_loss
from studio.train.artefact import write_ledger_row, write_metrics
from studio.train.data import rendered_pinned
from studio.train.pictures import to_unit
from studio.train.places import MODELS
from studio.train.run import Options, Run, launch, warmup_cosine
from studio.world.scene import FIRST_HELD_OUT_SEED

FOLDER, WEIGHTS, CONFIG = "vae-lab", "autoencoders.safetensors", "config.json"
KL_WEIGHTS: Mapping[str, float | None] = {"plain": None, "free": 0.0, "light": 0.1, "full": 1.0, "heavy": 50.0}
"""By name; None: no Gaussian at all."""


@dataclass(frozen=True)
class Preset:
    """pictures: how many are rendered, of `side` pixels; batch: over all processes; width: of the convolutions."""

    minutes: float
    pictures: int
    batch: int
    learning_rate: float = 2e-3
    side: int = 32
    code: int = 2
    width: int = 16
    held_out: int = 512
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=32, batch=4, width=4, held_out=8, max_steps=4),
    "cpu": Preset(minutes=4, pictures=20_000, batch=64),
    "gpu": Preset(minutes=1.5, pictures=40_000, batch=256),
}


def build(preset: Preset) -> nn.ModuleDict:
    """One autoencoder for each of KL_WEIGHTS, all from the same beginning where they are alike."""
    models = nn.ModuleDict()
    for name, weight in KL_WEIGHTS.items():
        torch.manual_seed(0)
        models[name] = Autoencoder(preset.side, 3, preset.code, preset.width, variational=weight is not None)
    return models


def loss_of(run: Run, model: nn.Module, x: Tensor, kl_weight: float | None) -> Tensor:
    """What one autoencoder is trained on: the mean over the batch of what a picture costs, summed over its pixels."""
    with run.autocast():
        decoded, mean, logvar = model(x)
    reconstruction, kl = vae_loss(x, decoded.float(), mean.float(), logvar.float(), kl_weight or 0.0)
    return reconstruction + kl


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run(FOLDER, rank, processes, options, preset.minutes, preset.max_steps)
    rng = np.random.default_rng((options.seed, rank, 13))
    if rank == 0:
        rendered_pinned(0, preset.pictures, preset.side)
    run.barrier()
    pictures = rendered_pinned(0, preset.pictures, preset.side)

    models = build(preset)
    torch.manual_seed(options.seed * 1_000 + rank)
    if options.init_from:
        models.load_state_dict({name: value.float() for name, value in load_file(options.init_from / WEIGHTS).items()})
    models = models.to(run.device)
    parameters = list(models.parameters())
    optimizer = torch.optim.AdamW(parameters, preset.learning_rate, weight_decay=0.0, fused=True)
    parts = {"models": models, "optimizer": optimizer}
    run.resume(parts)
    run.begin(parameters, preset)

    while not run.finished:
        optimizer.param_groups[0]["lr"] = preset.learning_rate * warmup_cosine(run.fraction, run.step, 50, 0.5)
        picks = np.sort(rng.integers(preset.pictures, size=max(1, preset.batch // processes)))
        x = to_unit(pictures[picks]).to(run.device)
        losses = {name: loss_of(run, models[name], x, weight) for name, weight in KL_WEIGHTS.items()}
        torch.stack(list(losses.values())).sum().backward()
        run.average_gradients(parameters)
        for model in models.values():
            torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimizer.step()
        optimizer.zero_grad()
        run.log(**{name: float(loss.detach()) for name, loss in losses.items()})
        if run.checkpoint_due():
            run.save(parts)

    if rank == 0:
        finish(run, preset, models.to("cpu").eval())
    run.barrier()
    run.close()


@torch.no_grad()
def measured(model: Autoencoder, x: Tensor) -> dict[str, float]:
    """mse: of reconstructed means; kl: nats of a code; sigma: the mean one; prior_mse: how far what is decoded from
    codes of N(0, I) is from the nearest of the pictures. x: (N, 3, side, side)"""
    mean, logvar = model.encode(x)
    codes = torch.randn(len(x), mean.shape[1], generator=torch.Generator().manual_seed(0))
    told = {"mse": float((model.decode(mean) - x).square().mean())}
    if model.variational:
        told["kl"] = float(kl_to_standard_normal(mean, logvar).mean())
        told["sigma"] = float((0.5 * logvar).exp().mean())
    distances = torch.cdist(model.decode(codes).flatten(1), x.flatten(1)).square() / x[0].numel()
    told["prior_mse"] = float(distances.min(1).values.mean())
    return {name: round(value, 5) for name, value in told.items()}


def finish(run: Run, preset: Preset, models: nn.ModuleDict) -> None:
    """Measure what is shipped on scenes that are kept for it, and write the artefact."""
    folder = (run.options.out or MODELS) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.half().contiguous() for name, value in models.state_dict().items()}
    models.load_state_dict({name: value.float() for name, value in half.items()})
    x = to_unit(rendered_pinned(FIRST_HELD_OUT_SEED, preset.held_out, preset.side))
    metrics = {
        f"{name}_{what}": value
        for name, model in models.items()
        if isinstance(model, Autoencoder)
        for what, value in measured(model, x).items()
    }
    network = {"side": preset.side, "code": preset.code, "width": preset.width}
    config = {"network": network, "kl_weights": dict(KL_WEIGHTS)}
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    save_file(half, folder / WEIGHTS)
    write_metrics(folder, run, asdict(preset), metrics)
    write_ledger_row(run, FOLDER, folder, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
