"""The runs of the experiment on training with quantization: which there are, in which order, and one of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from studio.diffusion.exported import pack, unpack
from studio.diffusion.learned import Trained, clip_penalty, ready
from studio.diffusion.observe import Plan
from studio.diffusion.process import noise_loss, q_sample
from studio.diffusion.schedules import Schedule
from studio.diffusion.seen import Seen
from studio.diffusion.tdq import DEPTH, fourier_codes, interval_codes, raw_codes, shuffled
from studio.diffusion.unet import UNet
from studio.train.pictures import to_unit

WEIGHTS, RESULT = "quantized.safetensors", "result.json"
PACT_PENALTY = 1e-4
BINS = 10
"""Of the time, in each of which the error is told."""


@dataclass(frozen=True)
class Entry:
    """One run. told: what a step network is told of t: "fourier", "raw", "shuffled", or "intervals-K" for a free number
    in each of K intervals; depth: of a step network."""

    method: Trained
    weight_bits: int
    activation_bits: int
    seed: int
    told: str = "fourier"
    depth: int = DEPTH

    @property
    def id(self) -> str:
        """The name of its folder."""
        more = "" if self.told == "fourier" else f"-{self.told}"
        more += "" if self.depth == DEPTH or self.told.startswith("intervals") else f"-depth-{self.depth}"
        return f"w{self.weight_bits}a{self.activation_bits}-{self.method}-{self.seed}{more}"

    def codes(self, T: int) -> Tensor:
        """(T, d)"""
        match self.told.split("-"):
            case ["fourier"]:
                return fourier_codes(T)
            case ["raw"]:
                return raw_codes(T)
            case ["shuffled"]:
                return shuffled(fourier_codes(T), self.seed)
            case ["intervals", count]:
                return interval_codes(T, int(count))
        raise ValueError(f"told must be fourier, raw, shuffled or intervals-K; it is {self.told}")


def pair(bits: tuple[int, int], seed: int) -> tuple[Entry, Entry]:
    """LSQ and TDQ, side by side."""
    return Entry("lsq", *bits, seed), Entry("tdq", *bits, seed)


def _queue(seeds: int) -> tuple[Entry, ...]:
    """What matters most comes first, so that a queue that is cut off still compares LSQ with TDQ."""
    entries = [*pair((4, 4), 0), *pair((4, 4), 1), *pair((3, 3), 0), *pair((8, 4), 0), *pair((3, 3), 1)]
    entries += pair((8, 4), 1)
    entries += [Entry("tdq", 4, 4, 0, "shuffled"), Entry("tdq", 4, 4, 0, "intervals-1", 1)]
    entries += [Entry("pact", 4, 4, 0), Entry("nipq", 4, 4, 0), Entry("pact", 4, 4, 1), Entry("nipq", 4, 4, 1)]
    for seed in range(2, seeds):
        entries += [one for bits in ((4, 4), (3, 3), (8, 4)) for one in pair(bits, seed)]
    entries += [Entry("tdq", 4, 4, 0, "raw"), Entry("tdq", 4, 4, 0, "intervals-20", 1)]
    entries += [Entry("tdq", 4, 4, 0, depth=depth) for depth in (1, 2, 6)]
    return (*entries, Entry("tdq", 4, 4, 1, "shuffled"))


QUEUES: Mapping[str, tuple[Entry, ...]] = {"smoke": pair((4, 4), 0), "cpu": _queue(2), "gpu": _queue(3)}


@dataclass(frozen=True)
class Recipe:
    """How every run is trained. learning_rate: of the network's weights; step_rate: of LSQ's steps and of the others'
    clips, as multiples of where they began; network_rate: of TDQ's step networks, but free numbers of intervals have
    LSQ's; weight_step_rate: of the steps of weights, whatever the method."""

    steps: int
    batch: int
    learning_rate: float
    step_rate: float
    network_rate: float
    weight_step_rate: float
    held_out: int


@dataclass(frozen=True, eq=False)
class Base:
    """The network that every run begins with, and what it has seen. sha256: of its weights."""

    net: UNet
    schedule: Schedule
    plan: Plan
    seen: Mapping[str, Sequence[Seen]]
    sha256: str


@dataclass(frozen=True, eq=False)
class Scenes:
    """pictures: (N, side, side, 3) uint8; kinds: (N,) int64."""

    pictures: NDArray[np.uint8]
    kinds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pictures)

    def of(self, picks: Any) -> tuple[Tensor, Tensor]:
        """(n, 3, side, side) in [-1, 1], (n,)"""
        return to_unit(self.pictures[picks]), torch.from_numpy(np.array(self.kinds[picks]))


def taught(entry: Entry, base: Base, scenes: Scenes, recipe: Recipe) -> tuple[nn.Module, list[float]]:
    """The base, trained on as it was, and quantized all the while; and the loss of every step. Runs of one seed see the
    same pictures, times and noise in the same order, and begin at the same weights, steps and zero levels."""
    torch.manual_seed(entry.seed)
    rng, schedule = np.random.default_rng((entry.seed, 16)), base.schedule
    bits = entry.weight_bits, entry.activation_bits
    net = ready(base.net, base.plan, base.seen, entry.method, *bits, entry.codes(schedule.T), entry.depth).train()
    optimizer, weights = optimizer_of(net, entry, recipe)
    rates, losses = [group["lr"] for group in optimizer.param_groups], []
    for step in range(recipe.steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 10) * 0.5 * (1 + np.cos(np.pi * step / recipe.steps))
        x0, labels = scenes.of(np.sort(rng.integers(len(scenes), size=recipe.batch)))
        t = torch.from_numpy(rng.integers(schedule.T, size=recipe.batch))
        eps = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
        loss = noise_loss(eps, net(q_sample(x0, t, eps, schedule), t, labels))
        (loss + PACT_PENALTY * clip_penalty(net) if entry.method == "pact" else loss).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return net.eval(), losses


def optimizer_of(net: nn.Module, entry: Entry, recipe: Recipe) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    """AdamW without decay, and the network's own weights, whose gradients are clipped."""
    named = list(net.named_parameters())
    inputs = [value for name, value in named if ".inputs." in name]
    steps = [value for name, value in named if ".weights." in name]
    weights = [value for name, value in named if ".inputs." not in name and ".weights." not in name]
    is_network = entry.method == "tdq" and not entry.told.startswith("intervals")
    of_inputs = recipe.network_rate if is_network else recipe.step_rate
    rates = ((weights, recipe.learning_rate), (steps, recipe.weight_step_rate), (inputs, of_inputs))
    groups = [{"params": values, "lr": rate} for values, rate in rates]
    return torch.optim.AdamW(groups, weight_decay=0.0, fused=True), weights


@torch.no_grad()
def measured(net: nn.Module, base: Base, held_out: Scenes) -> dict[str, Any]:
    """On scenes that are kept for measuring, at times all over: the squared error of the guessed noise, and how far the
    guess is from the base's, also in each tenth of the time."""
    schedule, count = base.schedule, len(held_out)
    t = torch.linspace(0, schedule.T - 1, count).round().long()
    x0, labels = held_out.of(slice(None))
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    xt, off, apart = q_sample(x0, t, eps, schedule), [], []
    for start in range(0, count, 64):
        part = slice(start, start + 64)
        guess, full = (one(xt[part], t[part], labels[part]) for one in (net, base.net))
        off.append((guess - eps[part]).square().mean((1, 2, 3)))
        apart.append((guess - full).square().mean((1, 2, 3)))
    distances = torch.cat(apart)
    by_time = [float(one.mean()) for one in distances.tensor_split(BINS)]
    return {
        "held_out_mse": round(float(torch.cat(off).mean()), 6),
        "eps_mse": round(float(distances.mean()), 6),
        "eps_mse_by_time": [round(one, 6) for one in by_time],
    }


def run_entry(
    entry: Entry, base: Base, scenes: Scenes, held_out: Scenes, recipe: Recipe, folder: Path
) -> dict[str, Any]:
    """Train, pack, measure what was packed, and leave both in a folder; the result comes last, and says it is done."""
    started = time.monotonic()
    net, losses = taught(entry, base, scenes, recipe)
    tensors = pack(net, base.schedule.T)
    packed = unpack(base.net, tensors, entry.weight_bits, entry.activation_bits, base.schedule.T)
    tenth = max(1, len(losses) // 10)
    result = {
        "id": entry.id,
        "entry": asdict(entry),
        **facts_of(base, recipe),
        "seconds": round(time.monotonic() - started, 1),
        "losses": [round(float(np.mean(losses[i : i + tenth])), 5) for i in range(0, len(losses), tenth)],
        **measured(packed, base, held_out),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS)
    (folder / RESULT).with_suffix(".tmp").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / RESULT).with_suffix(".tmp").replace(folder / RESULT)
    return result


def facts_of(base: Base, recipe: Recipe) -> dict[str, Any]:
    """What a run depends on beside its entry: with other ones it has to be done again."""
    return {"base": base.sha256, "recipe": asdict(recipe)}


def result_of(entry: Entry, base: Base, recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """What a finished run found; None if it has not been run, or with another base or another recipe."""
    path = folder / RESULT
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result if result | facts_of(base, recipe) == result else None
