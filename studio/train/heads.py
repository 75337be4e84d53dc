"""Heads beside the measuring eye that read depth and joints, trained on renders of the whole world and on what the
autoencoder makes of them, since generated pictures come out of its decoder. The eye itself is not touched."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from studio.lineage import weights_sha256
from studio.perception.agreement import joints_in_place, rank_correlation
from studio.perception.heads import FOLDER, WEIGHTS, Heads, StructureLogits, eye_views, load_eye, structures_of
from studio.perception.network import SIDE, Eye, as_input
from studio.perception.structure import CELLS
from studio.train.artefact import write_ledger_row, write_metrics
from studio.train.data import rendered_anything
from studio.train.muon import MuonWithAdamW
from studio.train.perception import shaken
from studio.train.pictures import to_unit
from studio.train.places import MODELS, data_folder
from studio.train.run import Options, Run, channels_last, launch, warmup_cosine
from studio.train.structure import true_structures
from studio.world.scene import FIRST_HELD_OUT_SEED

Rng = np.random.Generator
HIDDEN_WEIGHT, SPREAD_CELLS = 0.25, 1.0
BATCH = 32


@dataclass(frozen=True)
class Preset:
    """pictures: how many are rendered; reconstructed: how many of them the autoencoder gives back, too; people: the
    share of a batch that shows somebody; given_back: the share of a batch that comes from the autoencoder."""

    minutes: float
    pictures: int
    reconstructed: int
    batch: int
    learning_rate: float = 2e-3
    muon_rate: float = 1e-2
    people: float = 0.6
    given_back: float = 0.3
    ema: float = 0.995
    held_out: int = 1_024
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=64, reconstructed=16, batch=8, ema=0.5, held_out=32, max_steps=4),
    "cpu": Preset(minutes=10, pictures=30_000, reconstructed=4_000, batch=32),
    "gpu": Preset(minutes=2, pictures=100_000, reconstructed=20_000, batch=256, learning_rate=3e-3, muon_rate=2e-2),
}


def loss_of(logits: StructureLogits, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Depth, the order of depths inside of entities, places of joints, and whether they are seen; each a mean."""
    inside, error = truth["inside"], (logits.depth - truth["depth"]).abs()
    return {
        "depth": error.mean() + 4 * (error * inside).sum() / inside.sum().clamp(min=1),
        "order": 0.3 * (1 - correlation(logits.depth, truth["depth"], inside)).mean(),
        "places": 0.3 * places_loss(logits.places, truth["joints"], truth["visible"]),
        "seen": F.binary_cross_entropy_with_logits(logits.seen, truth["visible"]),
    }


def correlation(a: Tensor, b: Tensor, inside: Tensor) -> Tensor:
    """Pearson's correlation over the cells inside, of each picture with any: a, b, inside (B, h, w) to (n,)."""
    some = inside.flatten(1).sum(1) > 1
    a, b, inside = (x[some].flatten(1) for x in (a, b, inside))
    count = inside.sum(1, keepdim=True)
    a, b = ((x - (x * inside).sum(1, keepdim=True) / count) * inside for x in (a, b))
    return (a * b).sum(1) / ((a.square().sum(1) + 1e-4) * (b.square().sum(1) + 1e-4)).sqrt()


def places_loss(places: Tensor, joints: Tensor, visible: Tensor) -> Tensor:
    """Cross entropy between the softmax over cells and a Gaussian around each joint; hidden ones count less.

    places: (B, 18, 64, 64) logits; joints: (B, 18, 2) shares of the picture, NaN without a person; visible: (B, 18).
    """
    there = ((joints >= 0) & (joints < 1)).all(-1)  # False for NaN
    centres = torch.nan_to_num(joints) * CELLS - 0.5
    cells = torch.arange(CELLS, device=places.device)
    x, y = ((-(cells - c[..., None]).square() / (2 * SPREAD_CELLS**2)).softmax(-1) for c in centres.unbind(-1))
    cross = -(places.flatten(2).log_softmax(-1) * (y[..., :, None] * x[..., None, :]).flatten(2)).sum(-1)
    weight = torch.where(visible > 0, 1.0, HIDDEN_WEIGHT) * there
    return (cross * weight).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def given_back(run: Run, vae_folder: Path, first_seed: int, count: int) -> NDArray[np.uint8]:
    """What the autoencoder makes of renders of the whole world: (count, 128, 128, 3) uint8, made once and kept."""
    path = data_folder() / f"given-back-{SIDE}-{first_seed}-{count}-{weights_sha256(vae_folder)[:12]}.npy"
    if not path.exists():
        pictures = rendered_anything(first_seed, count, SIDE)
        vae = AutoencoderTiny.from_pretrained(vae_folder, dtype=torch.float32).to(run.device)
        temporary = path.with_suffix(".tmp.npy")
        store = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, SIDE, SIDE, 3))
        for start in range(0, count, BATCH):
            with run.autocast():
                y = vae(to_unit(pictures[start : start + BATCH]).to(run.device)).sample
            pixels = ((y.float().clamp(-1, 1) + 1) * 127.5).round().byte()
            store[start : start + BATCH] = pixels.permute(0, 2, 3, 1).cpu().numpy()
        store.flush()
        temporary.replace(path)
    rows: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return rows


@dataclass(frozen=True)
class Data:
    """Renders, what the autoencoder made of the first of them, what they show, and which of them show somebody."""

    pictures: NDArray[np.uint8]
    given_back: NDArray[np.uint8]
    truth: NDArray[Any]
    people: NDArray[np.int64]

    def picks(self, count: int, preset: Preset, rng: Rng) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows, as many of people as the preset wants, and which of them are taken as the autoencoder gave them."""
        from_vae = rng.random(count) < preset.given_back
        end = np.where(from_vae, len(self.given_back), len(self.truth))
        anybody = (rng.random(count) * end).astype(np.int64)
        somebody = self.people[(rng.random(count) * np.searchsorted(self.people, end)).astype(np.int64)]
        return np.where(rng.random(count) < preset.people, somebody, anybody), from_vae

    def batch(self, rows: NDArray[np.int64], from_vae: NDArray[np.bool_]) -> tuple[Tensor, dict[str, Tensor]]:
        """Pictures (B, 3, 128, 128) in [-1, 1] and what they show."""
        shown = [(self.given_back if back else self.pictures)[row] for row, back in zip(rows, from_vae, strict=True)]
        truth = self.truth[rows]
        names = ("depth", "inside", "joints", "visible")
        return as_input(np.stack(shown)), {name: torch.from_numpy(truth[name].astype(np.float32)) for name in names}


def load_data(run: Run, vae_folder: Path, first_seed: int, pictures: int, reconstructed: int) -> Data:
    """Scenes from first_seed on, rendered, given back and known."""
    truth = true_structures(first_seed, pictures)
    people = np.flatnonzero(~np.isnan(truth["height"]))
    back = given_back(run, vae_folder, first_seed, reconstructed)
    return Data(rendered_anything(first_seed, pictures, SIDE), back, truth, people)


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("heads", rank, processes, options, preset.minutes, preset.max_steps)
    rng = np.random.default_rng((options.seed, rank, 8))
    vae_folder = (options.out or MODELS / "little-world") / "vae"
    eye = load_eye((options.out or MODELS) / "perception").to(run.device).to(memory_format=torch.channels_last)
    if rank == 0:
        load_data(run, vae_folder, 0, preset.pictures, preset.reconstructed)
    run.barrier()
    data = load_data(run, vae_folder, 0, preset.pictures, preset.reconstructed)

    torch.manual_seed(options.seed)
    heads = Heads()
    if options.init_from:
        heads.load_state_dict({k: v.float() for k, v in load_file(options.init_from / WEIGHTS).items()})
    heads = heads.to(run.device).to(memory_format=torch.channels_last)
    parameters = list(heads.parameters())
    hidden = [p for p in heads.levels.parameters() if p.ndim == 4]
    optimizer = MuonWithAdamW(heads, hidden, preset.muon_rate, preset.learning_rate)
    average = AveragedModel(heads, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    parts = {"heads": heads, "average": average, "optimizer": optimizer}
    run.resume(parts)
    run.begin(parameters, preset)

    while not run.finished:
        x, truth = data.batch(*data.picks(max(1, preset.batch // processes), preset, rng))
        x, truth = channels_last(shaken(x.to(run.device), rng)), {k: v.to(run.device) for k, v in truth.items()}
        with run.autocast():
            logits = heads(x, eye_views(eye, x))
        losses = loss_of(StructureLogits(logits.depth.float(), logits.places.float(), logits.seen.float()), truth)
        torch.stack(list(losses.values())).sum().backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(warmup_cosine(run.fraction, run.step, 50, 0.3))
        average.update_parameters(heads)
        run.log(**{name: float(loss.detach()) for name, loss in losses.items()})
        if run.checkpoint_due():
            run.save(parts)

    run.save(parts)
    if rank == 0:
        heads = cast(Heads, average.module.to("cpu").to(memory_format=torch.contiguous_format).eval())
        finish(run, preset, heads, eye.to("cpu"), vae_folder)
    run.barrier()
    run.close()


def agreements(eye: Eye, heads: Heads, pictures: NDArray[np.uint8], truth: NDArray[Any]) -> tuple[float, float]:
    """Mean rank correlation of depths inside of entities, and the share of visible joints that are in their place."""
    orders, placed = [], []
    for start in range(0, len(pictures), BATCH):
        read = structures_of(eye, heads, as_input(pictures[start : start + BATCH]))
        for one, true in zip(read, truth[start : start + BATCH], strict=False):
            orders.append(rank_correlation(one.depth, true["depth"], true["inside"]))
            if true["visible"].any():
                height = float(true["height"])
                placed += joints_in_place(one.joints, one.seen, true["joints"], true["visible"], height).tolist()
    return round(float(np.mean(orders)), 4), round(float(np.mean(placed)), 4)


def finish(run: Run, preset: Preset, heads: Heads, eye: Eye, vae_folder: Path) -> None:
    """Measure what is shipped on held-out renders and on what the autoencoder makes of them, and write it."""
    folder = (run.options.out or MODELS) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.half().contiguous() for name, tensor in heads.state_dict().items()}
    heads.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    held_out = load_data(run, vae_folder, FIRST_HELD_OUT_SEED, preset.held_out, preset.held_out)
    order, place = agreements(eye, heads, held_out.pictures, held_out.truth)
    order_back, place_back = agreements(eye, heads, held_out.given_back, held_out.truth)
    metrics = {
        "depth_order": order,
        "joints_in_place": place,
        "depth_order_given_back": order_back,
        "joints_in_place_given_back": place_back,
    }
    save_file(half, folder / WEIGHTS)
    eye_hash = weights_sha256((run.options.out or MODELS) / "perception")
    write_metrics(folder, run, asdict(preset), metrics, eye=eye_hash, vae=weights_sha256(vae_folder))
    write_ledger_row(run, FOLDER, folder, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
