"""A classifier of noisy pictures, in the ordinary way of training a classifier but for one line: each picture of a
batch is noised to its own t, and the network is told which. It is what classifier guidance asks for its gradient."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.diffusion.classifier import NoisyClassifier
from studio.diffusion.process import draw_t, q_sample
from studio.diffusion.schedules import SCHEDULES, Schedule
from studio.train.artefact import write_ledger_row, write_metrics
from studio.train.data import lone_kinds, rendered_lone
from studio.train.ddpm import SCHEDULE, T
from studio.train.pictures import to_unit
from studio.train.places import MODELS
from studio.train.run import Options, Run, channels_last, launch, warmup_cosine
from studio.world.scene import FIRST_HELD_OUT_SEED
from studio.world.vocabulary import KINDS

FOLDER, WEIGHTS, CONFIG, CONFUSION = "noisy-classifier", "classifier.safetensors", "config.json", "confusion.json"
LEVELS = (0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999)
"""The times at which it is measured."""
BATCH = 128


@dataclass(frozen=True)
class Preset:
    """pictures: how many are rendered, of `side` pixels; batch: over all processes; held_out: measured at each t."""

    minutes: float
    pictures: int
    batch: int
    learning_rate: float
    side: int = 32
    dim: int = 24
    weight_decay: float = 0.02
    held_out: int = 1_000
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=32, batch=4, learning_rate=1e-3, dim=8, held_out=32, max_steps=4),
    "cpu": Preset(minutes=4, pictures=40_000, batch=64, learning_rate=1.5e-3),
    "gpu": Preset(minutes=1.5, pictures=200_000, batch=512, learning_rate=2e-3),
}


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run(FOLDER, rank, processes, options, preset.minutes, preset.max_steps)
    rng = np.random.default_rng((options.seed, rank, 14))
    schedule = SCHEDULES[options.schedule or SCHEDULE](T)
    if rank == 0:
        rendered_lone(0, preset.pictures, preset.side), lone_kinds(0, preset.pictures)
    run.barrier()
    pictures, kinds = rendered_lone(0, preset.pictures, preset.side), lone_kinds(0, preset.pictures)

    torch.manual_seed(options.seed)
    model = NoisyClassifier(len(KINDS), preset.dim)
    if options.init_from:
        model.load_state_dict({name: value.float() for name, value in load_file(options.init_from / WEIGHTS).items()})
    model = model.to(run.device).to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, preset.learning_rate, weight_decay=preset.weight_decay, fused=True)
    parts = {"model": model, "optimizer": optimizer}
    run.resume(parts)
    run.begin(parameters, preset)

    while not run.finished:
        optimizer.param_groups[0]["lr"] = preset.learning_rate * warmup_cosine(run.fraction, run.step, 50, 0.4)
        picks = np.sort(rng.integers(preset.pictures, size=max(1, preset.batch // processes)))
        x0, labels = to_unit(pictures[picks]).to(run.device), torch.from_numpy(kinds[picks]).to(run.device)
        t = draw_t(len(x0), schedule)
        with run.autocast():
            logits = model(channels_last(q_sample(x0, t, torch.randn_like(x0), schedule)), t.to(run.device))
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        right = (logits.argmax(1) == labels).float().mean()
        run.log(loss=float(loss.detach()), accuracy=float(right))
        if run.checkpoint_due():
            run.save(parts)

    if rank == 0:
        finish(run, preset, model.to("cpu").to(memory_format=torch.contiguous_format).eval(), schedule)
    run.barrier()
    run.close()


@torch.no_grad()
def confusion_at(model: NoisyClassifier, t: int, schedule: Schedule, preset: Preset) -> Tensor:
    """How often each kind is taken for which, on scenes that are kept for measuring. (kinds, kinds) int64"""
    x0 = to_unit(rendered_lone(FIRST_HELD_OUT_SEED, preset.held_out, preset.side))
    labels = torch.from_numpy(np.array(lone_kinds(FIRST_HELD_OUT_SEED, preset.held_out)))
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(t))
    xt, found = q_sample(x0, t, eps, schedule), torch.zeros(len(KINDS), len(KINDS), dtype=torch.int64)
    for start in range(0, len(xt), BATCH):
        part = slice(start, start + BATCH)
        seen = model(xt[part], torch.full((len(xt[part]),), t)).argmax(1)
        found.index_put_((labels[part], seen), torch.ones(len(seen), dtype=torch.int64), accumulate=True)
    return found


def finish(run: Run, preset: Preset, model: NoisyClassifier, schedule: Schedule) -> None:
    """Measure what is shipped at each level of noise, and write the artefact."""
    folder = (run.options.out or MODELS) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in half.items()})
    matrices = {t: confusion_at(model, t, schedule, preset) for t in LEVELS}
    metrics = {f"accuracy_t{t}": round(float(found.trace() / found.sum()), 4) for t, found in matrices.items()}
    told = {
        "classes": KINDS,
        "schedule": schedule.name,
        "levels": [{"t": t, "matrix": found.tolist()} for t, found in matrices.items()],
    }
    config = {"network": {"classes": len(KINDS), "dim": preset.dim}, "schedule": schedule.name, "T": schedule.T}
    (folder / CONFUSION).write_text(json.dumps(told) + "\n", encoding="utf-8")
    (folder / CONFIG).write_text(json.dumps({**config, "side": preset.side}, indent=1) + "\n", encoding="utf-8")
    save_file(half, folder / WEIGHTS)
    write_metrics(folder, run, asdict(preset), metrics)
    write_ledger_row(run, FOLDER, folder, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
