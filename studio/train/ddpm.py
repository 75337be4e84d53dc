"""A DDPM on pixels: the network of the maths room learns to guess the noise in small pictures of one thing.

Each picture of a batch has its own t (DDPM, 2006.11239, algorithm 1), its label is dropped now and then so that one
network can guide itself (2207.12598, algorithm 1), and the average of its weights is what is shipped, beside the last
ones. At milestones the same noise is walked back by both, to be looked through afterwards.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from studio.diffusion.parameterisations import clipped, denoiser
from studio.diffusion.process import draw_t, noise_loss, q_sample, to_pixels
from studio.diffusion.samplers import ddim
from studio.diffusion.schedules import SCHEDULES, Schedule
from studio.diffusion.unet import UNet, drop_labels, told
from studio.diffusion.walk import last, spaced
from studio.train.artefact import write_ledger_row, write_metrics
from studio.train.data import lone_kinds, rendered_lone
from studio.train.pictures import to_unit
from studio.train.places import MODELS
from studio.train.run import Options, Run, channels_last, launch, warmup_cosine
from studio.world.scene import FIRST_HELD_OUT_SEED
from studio.world.vocabulary import KINDS

FOLDER, AVERAGE, RAW = "ddpm", "ema.safetensors", "raw.safetensors"
CONFIG, MILESTONES = "config.json", "milestones.json"
SCHEDULE, T = "cosine", 1000
MILESTONE_SHARES = (0.002, 0.01, 0.03, 0.06, 0.12, 0.25, 0.5)
"""Of the budget; the end is one more."""
MILESTONE_STEPS, MILESTONE_PICTURES, MILESTONE_SEED = 20, 128, 1


@dataclass(frozen=True)
class Preset:
    """pictures: how many are rendered, of `side` pixels; batch: over all processes; drop: the share of the labels that
    the network is not told."""

    minutes: float
    pictures: int
    batch: int
    learning_rate: float
    side: int = 32
    dim: int = 24
    dim_mults: tuple[int, ...] = (1, 2, 3)
    patch: int = 2
    drop: float = 0.15
    ema: float = 0.999
    held_out: int = 512
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=32, batch=4, learning_rate=1e-3, dim=8, ema=0.5, held_out=8, max_steps=4),
    "cpu": Preset(minutes=20, pictures=40_000, batch=64, learning_rate=1e-3, ema=0.995),
    "gpu": Preset(minutes=5, pictures=200_000, batch=512, learning_rate=2e-3),
}


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("ddpm", rank, processes, options, preset.minutes, preset.max_steps)
    rng = np.random.default_rng((options.seed, rank, 12))
    schedule = SCHEDULES[options.schedule or SCHEDULE](T)
    if rank == 0:
        rendered_lone(0, preset.pictures, preset.side), lone_kinds(0, preset.pictures)
    run.barrier()
    pictures, kinds = rendered_lone(0, preset.pictures, preset.side), lone_kinds(0, preset.pictures)

    torch.manual_seed(options.seed)
    net = UNet(**network_of(preset))
    if options.init_from:
        net.load_state_dict({name: value.float() for name, value in load_file(options.init_from / AVERAGE).items()})
    net = net.to(run.device).to(memory_format=torch.channels_last)
    parameters = list(net.parameters())
    optimizer = torch.optim.AdamW(parameters, preset.learning_rate, weight_decay=0.0, fused=True)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    parts = {"net": net, "average": average, "optimizer": optimizer}
    run.resume(parts)
    album = Album(run, schedule)
    run.begin(parameters, preset)

    while not run.finished:
        optimizer.param_groups[0]["lr"] = preset.learning_rate * warmup_cosine(run.fraction, run.step, 100, 0.4)
        picks = np.sort(rng.integers(preset.pictures, size=max(1, preset.batch // processes)))
        x0 = channels_last(to_unit(pictures[picks]).to(run.device))
        labels = drop_labels(torch.from_numpy(kinds[picks]), net.null_label, preset.drop).to(run.device)
        t, eps = draw_t(len(x0), schedule), torch.randn_like(x0)
        with run.autocast():
            guess = net(q_sample(x0, t, eps, schedule), t.to(run.device), labels)
        loss = noise_loss(eps, guess.float())
        loss.backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(net)
        run.log(loss=float(loss.detach()))
        if album.due:
            album.add(cast(UNet, average.module), net)
        if run.checkpoint_due():
            run.save(parts)

    if rank == 0:
        finish(run, preset, cast(UNet, average.module), net, schedule, album)
    run.barrier()
    run.close()


def network_of(preset: Preset) -> dict[str, Any]:
    """What the network is built from."""
    return {"dim": preset.dim, "dim_mults": preset.dim_mults, "classes": len(KINDS), "patch": preset.patch}


class Album:
    """What the network drew at each milestone: one picture each, the averaged weights' row above the last weights'."""

    def __init__(self, run: Run, schedule: Schedule) -> None:
        self.run, self.schedule, self.folder = run, schedule, run.folder / "milestones"
        if run.rank == 0 and not run.options.resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def due(self) -> bool:
        """Whether a milestone has been passed that is not in the album; only the first process draws."""
        passed = sum(share <= self.run.fraction < 1 for share in MILESTONE_SHARES)
        return self.run.rank == 0 and passed > len(list(self.folder.glob("*.json")))

    def add(self, average: UNet, raw: UNet) -> None:
        """Draw one of each kind with both, from the same noise as ever, and write what it took to come here."""
        preset, name = PRESETS[self.run.options.preset], f"{len(list(self.folder.glob('*.json'))):02d}"
        rows = [drawn(net, self.schedule, preset.side) for net in (average, raw)]
        Image.fromarray(np.vstack([np.hstack(list(row)) for row in rows])).save(self.folder / f"{name}.png")
        count = min(MILESTONE_PICTURES, preset.held_out)
        losses = [held_out_loss(net, self.schedule, preset, count) for net in (average, raw)]
        facts = {"file": f"{name}.png", "step": self.run.step, "seconds": round(self.run.seconds, 1)}
        facts |= {"loss_ema": round(losses[0], 4), "loss_raw": round(losses[1], 4)}
        (self.folder / f"{name}.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        self.run.say(f"milestone {facts}")

    def bind(self, folder: Path) -> None:
        """Put the pages into the artefact, with one list of what they are."""
        target = folder / "milestones"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder, target, ignore=shutil.ignore_patterns("*.json"))
        pages = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.json"))]
        (folder / MILESTONES).write_text(json.dumps(pages, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def drawn(net: UNet, schedule: Schedule, side: int) -> np.ndarray:
    """One picture of each kind, always from the same noise. (kinds, side, side, 3) uint8"""
    device = next(net.parameters()).device
    x = torch.randn(len(KINDS), 3, side, side, generator=torch.Generator().manual_seed(MILESTONE_SEED)).to(device)
    denoise = clipped(denoiser(told(net, torch.arange(len(KINDS), device=device)), "eps", schedule))
    finished = last(ddim(denoise, x, spaced(schedule.T, MILESTONE_STEPS), schedule))
    return to_pixels(finished).permute(0, 2, 3, 1).cpu().numpy()


@torch.no_grad()
def held_out_loss(net: UNet, schedule: Schedule, preset: Preset, count: int) -> float:
    """The mean squared error of the guessed noise on scenes that are kept for measuring, at times all over."""
    device, generator = next(net.parameters()).device, torch.Generator().manual_seed(0)
    x0 = to_unit(rendered_lone(FIRST_HELD_OUT_SEED, count, preset.side))
    labels = torch.from_numpy(np.array(lone_kinds(FIRST_HELD_OUT_SEED, count)))
    t = torch.linspace(0, schedule.T - 1, count).round().long()
    eps = torch.randn(x0.shape, generator=generator)
    xt, total = q_sample(x0, t, eps, schedule), 0.0
    for start in range(0, count, 64):
        part = slice(start, start + 64)
        guess = net(xt[part].to(device), t[part].to(device), labels[part].to(device))
        total += float(noise_loss(eps[part].to(device), guess)) * len(guess)
    return total / count


def finish(run: Run, preset: Preset, average: UNet, raw: UNet, schedule: Schedule, album: Album) -> None:
    """Measure what is shipped, both weights in half precision, draw the last milestone and write the artefact."""
    folder = (run.options.out or MODELS) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for net, name in ((average, AVERAGE), (raw, RAW)):
        half = {key: value.cpu().half().contiguous() for key, value in net.state_dict().items()}
        save_file(half, folder / name)
        net.load_state_dict({key: value.float() for key, value in half.items()})
    album.add(average, raw)
    album.bind(folder)
    config = {
        "network": network_of(preset),
        "classes": KINDS,
        "schedule": schedule.name,
        "T": schedule.T,
        "side": preset.side,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    metrics = {
        "held_out_mse": round(held_out_loss(average, schedule, preset, preset.held_out), 4),
        "held_out_mse_raw": round(held_out_loss(raw, schedule, preset, preset.held_out), 4),
        "side": preset.side,
        "schedule": schedule.name,
    }
    write_metrics(folder, run, asdict(preset), metrics)
    write_ledger_row(run, FOLDER, folder, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
