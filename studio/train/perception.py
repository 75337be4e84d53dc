"""The measuring eye, trained on renders of the whole world, blurred and shaken so that soft pictures are read fairly."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from studio.perception.measure import WEIGHTS
from studio.perception.network import ALL_KINDS, ALL_STYLES, SIDE, Eye, Reading
from studio.train.artefact import write_ledger_row, write_metrics
from studio.train.data import rendered_anything
from studio.train.run import MODELS, Options, Run, channels_last, launch, warmup_cosine
from studio.train.vae import to_unit
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, anything_of_seed
from studio.world.vocabulary import BACKGROUNDS, COLOURLESS_STYLES, COLOURS, POSES


@dataclass(frozen=True)
class Preset:
    minutes: float
    pictures: int
    batch: int
    learning_rate: float
    ema: float = 0.995
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=64, batch=8, learning_rate=2e-3, ema=0.5, max_steps=4),
    "cpu": Preset(minutes=10, pictures=30_000, batch=64, learning_rate=2e-3),
    "gpu": Preset(minutes=3, pictures=100_000, batch=256, learning_rate=3e-3),
}


@dataclass(frozen=True)
class Labels:
    """What the scenes show; -1 and weight 0 where it cannot be seen. N rows each."""

    background: NDArray[np.int64]
    style: NDArray[np.int64]
    kinds: NDArray[np.float32]
    pairs: NDArray[np.float32]
    coloured: NDArray[np.float32]
    person: NDArray[np.float32]
    character: NDArray[np.float32]
    shirt: NDArray[np.int64]
    pants: NDArray[np.int64]
    pose: NDArray[np.int64]

    def rows(self, picks: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
        return {name: torch.from_numpy(getattr(self, name)[picks]).to(device) for name in self.__dataclass_fields__}


def labels_of(scenes: list[Scene]) -> Labels:
    n = len(scenes)
    labels = Labels(
        background=np.array([BACKGROUNDS.index(s.background) for s in scenes]),
        style=np.array([ALL_STYLES.index(s.style) for s in scenes]),
        kinds=np.zeros((n, len(ALL_KINDS)), np.float32),
        pairs=np.zeros((n, len(ALL_KINDS), len(COLOURS)), np.float32),
        coloured=np.array([s.style not in COLOURLESS_STYLES for s in scenes], np.float32),
        person=np.array([s.person is not None for s in scenes], np.float32),
        character=np.array([s.person is not None and s.person.character is not None for s in scenes], np.float32),
        shirt=np.full(n, -1),
        pants=np.full(n, -1),
        pose=np.full(n, -1),
    )
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            kind = ALL_KINDS.index(thing.kind)
            labels.kinds[row, kind] = 1
            labels.pairs[row, kind, COLOURS.index(thing.colour)] = 1
        if scene.person is not None:
            labels.pose[row] = POSES.index(scene.person.pose.name)
            if labels.coloured[row] and scene.person.character is None:
                labels.shirt[row] = COLOURS.index(scene.person.shirt)
                labels.pants[row] = COLOURS.index(scene.person.pants)
    return labels


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
    present = 4 * presence("kinds") + presence("person") + presence("character")
    return chosen + present + 4 * pairs / (weight.sum() * len(COLOURS)).clamp(min=1)


def shaken(x: Tensor, rng: np.random.Generator) -> Tensor:
    """One change for the batch: nothing, blur, a lower resolution, or noise; and a slight shift of tone."""
    which = int(rng.integers(4))
    if which == 1:
        sigma = float(rng.uniform(0.5, 1.6))
        taps = torch.exp(-(torch.arange(-3, 4, device=x.device).float() ** 2) / (2 * sigma**2))
        kernel = (taps / taps.sum()).expand(3, 1, 7)
        x = F.conv2d(F.conv2d(x, kernel[:, :, None, :], padding=(0, 3), groups=3), kernel[:, :, :, None], padding=(3, 0), groups=3)  # fmt: skip
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
    eye = Eye().to(run.device, memory_format=torch.channels_last)
    parameters = list(eye.parameters())
    optimizer = torch.optim.AdamW(parameters, preset.learning_rate, weight_decay=0.02, fused=True)
    average = AveragedModel(eye, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    if state := run.load_checkpoint():
        eye.load_state_dict(state["eye"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    run.say(f"{sum(p.numel() for p in parameters) / 1e6:.2f}M parameters, {preset}")
    run.barrier()
    run.start_clock()

    while not run.finished:
        optimizer.param_groups[0]["lr"] = preset.learning_rate * warmup_cosine(run.fraction, run.step, 50, 0.3)
        picks = np.sort(rng.integers(preset.pictures, size=max(1, preset.batch // processes)))
        x = shaken(to_unit(pictures[picks]).to(run.device), rng)
        with run.autocast():
            reading = eye(channels_last(x))
        loss = loss_of(reading, labels.rows(picks, run.device))
        loss.backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(eye)
        run.log(loss=float(loss.detach()))
        if run.checkpoint_due():
            run.save_checkpoint(eye=eye.state_dict(), average=average.state_dict(), optimizer=optimizer.state_dict())

    if rank == 0:
        finish(run, preset, average.module.to("cpu", memory_format=torch.contiguous_format).eval())
    run.barrier()
    run.close()


@torch.no_grad()
def accuracies(eye: Eye, count: int) -> dict[str, float]:
    """What the eye reads right on held-out renders: the ceiling of everything it measures."""
    pictures = rendered_anything(FIRST_HELD_OUT_SEED, count, SIDE)
    labels = labels_of([anything_of_seed(FIRST_HELD_OUT_SEED + i) for i in range(count)])
    found: dict[str, list[Tensor]] = {}
    for start in range(0, count, 64):
        picks = np.arange(start, min(start + 64, count))
        reading, truth = eye(to_unit(pictures[picks])), labels.rows(picks, torch.device("cpu"))
        for name in ("background", "style", "shirt", "pants", "pose"):
            known = truth[name] >= 0
            found.setdefault(name, []).append((getattr(reading, name).argmax(1) == truth[name])[known])
        for name in ("person", "character"):
            found.setdefault(name, []).append((getattr(reading, name) > 0) == (truth[name] > 0))
        seen, there = reading.kinds > 0, truth["kinds"] > 0
        found.setdefault("kind_recall", []).append(seen[there])
        found.setdefault("kind_precision", []).append(there[seen])
        coloured = (truth["kinds"] * truth["coloured"][:, None]) > 0
        right = truth["pairs"].gather(2, reading.pairs.argmax(2, keepdim=True))[..., 0] > 0
        found.setdefault("colour", []).append(right[coloured & seen])
    return {name: round(float(torch.cat(parts).float().mean()), 4) for name, parts in found.items()}


def finish(run: Run, preset: Preset, eye: Eye) -> None:
    """Measure the ceilings on what is shipped, and write it."""
    folder = (run.options.out or MODELS) / "perception"
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.half().contiguous() for name, tensor in eye.state_dict().items()}
    eye.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    metrics = accuracies(eye, 64 if preset.max_steps else 3_000)
    save_file(half, folder / WEIGHTS)
    write_metrics(folder, run, asdict(preset), metrics)
    write_ledger_row(run, "perception", folder, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
