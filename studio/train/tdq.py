"""Training with quantization: a queue of runs that begin with the DDPM on pixels, LSQ against TDQ.

One folder for each run, under runs/tdq-PRESET; those that are done with the same base and the same recipe are skipped,
so that the queue can be worked off in several stretches, and one that was broken off begins again. On a CPU each
process takes every second run. No new run begins when the minutes are over; what is done by then is told and shipped.
The loss is DDPM's own, as in So et al. (2306.02316); the weights after the last step are taken, not the best of some.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from studio.diffusion.observe import Call, plan, record
from studio.diffusion.parameterisations import clipped, denoiser
from studio.diffusion.samplers import ddim
from studio.diffusion.schedules import SCHEDULES
from studio.diffusion.unet import UNet
from studio.diffusion.walk import last, spaced
from studio.errors import ModelUnavailable
from studio.lineage import combined_sha256, file_sha256, weights_sha256
from studio.train.artefact import facts_of, tell_ledger, write_facts
from studio.train.data import lone_kinds, rendered_lone
from studio.train.ddpm import AVERAGE, CONFIG
from studio.train.ddpm import FOLDER as BASE_FOLDER
from studio.train.places import MODELS
from studio.train.run import Options, Run, launch
from studio.train.tdq_runs import QUEUES, Base, Entry, Recipe, Scenes, result_of, run_entry
from studio.world.scene import FIRST_HELD_OUT_SEED
from studio.world.vocabulary import KINDS

FOLDER, RANGES, RUNS = "tdq", "ranges.safetensors", "runs.json"
SHIPPED_SEED = 0
CALIBRATION_SEED = 7


@dataclass(frozen=True)
class Preset:
    """pictures: how many are rendered; walk_steps, walk_pictures: of the base's own walks back, from which the first
    steps are found. recipe: of every run."""

    minutes: float
    pictures: int
    recipe: Recipe
    walk_steps: int = 25
    walk_pictures: int = 2 * len(KINDS)


# The rates of "cpu" are those of the smallest error after 40 steps at W4A4, of another seed than the runs have, or next
# to it: LSQ's steps were tried at 0.005, 0.02, 0.05, 0.1, TDQ's networks at 0.001, 0.003, 0.01. LSQ depends on its rate
# more than on its method: with 0.005 it ends at 0.1135 and with 0.05 at 0.1004, TDQ at 0.0985 to 0.0946.
PRESETS = {
    "smoke": Preset(1, 32, Recipe(2, 4, 1e-3, 5e-2, 3e-3, 5e-3, 8), walk_steps=3, walk_pictures=4),
    "cpu": Preset(40, 40_000, Recipe(200, 32, 1e-3, 5e-2, 3e-3, 5e-3, 512)),
    "gpu": Preset(60, 40_000, Recipe(3_000, 128, 5e-4, 5e-3, 5e-4, 1e-3, 2_048)),
}


def worker(rank: int, processes: int, options: Options) -> None:
    preset, entries = PRESETS[options.preset], QUEUES[options.preset]
    run = Run(FOLDER, rank, processes, options, preset.minutes)
    folder = options.init_from or (options.out or MODELS) / BASE_FOLDER
    base, side = base_of(folder, preset)
    recipe, count = preset.recipe, preset.recipe.held_out
    if rank == 0:
        for first, many in ((0, preset.pictures), (FIRST_HELD_OUT_SEED, count)):
            rendered_lone(first, many, side), lone_kinds(first, many)
    run.barrier()
    scenes = Scenes(rendered_lone(0, preset.pictures, side), lone_kinds(0, preset.pictures))
    held_out = Scenes(rendered_lone(FIRST_HELD_OUT_SEED, count, side), lone_kinds(FIRST_HELD_OUT_SEED, count))
    run.begin(base.net.parameters(), preset)

    for entry in entries[rank::processes]:
        place = run.folder / entry.id
        if result_of(entry, base, recipe, place) is not None:
            run.say(f"{entry.id} is done")
        elif run.seconds < run.budget_seconds:
            result = run_entry(entry, base, scenes, held_out, recipe, place)
            print(f"[{FOLDER}] {entry.id}: {result['seconds']:.0f} s, eps_mse {result['eps_mse']}", flush=True)

    run.barrier()
    if rank == 0:
        finish(run, preset, base, entries)
    run.barrier()
    run.close()


def base_of(folder: Path, preset: Preset) -> tuple[Base, int]:
    """The DDPM on pixels, with what goes into its layers on its own walks back; and the side of its pictures."""
    for name in (CONFIG, AVERAGE):
        if not (folder / name).is_file():
            raise ModelUnavailable("model_missing", model=folder.name, missing=name)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    net = UNet(**config["network"])
    net.load_state_dict({name: value.float() for name, value in load_file(folder / AVERAGE).items()})
    net, schedule = net.eval().requires_grad_(False), SCHEDULES[config["schedule"]](config["T"])
    calls: list[Call] = []
    labels = torch.arange(preset.walk_pictures) % len(config["classes"])

    def predict(xt: torch.Tensor, t: int) -> torch.Tensor:
        calls.append(((xt, torch.full((len(xt),), t), labels), {}))
        predicted: torch.Tensor = net(*calls[-1][0])
        return predicted

    generator = torch.Generator().manual_seed(CALIBRATION_SEED)
    x = torch.randn(len(labels), 3, config["side"], config["side"], generator=generator)
    with torch.no_grad():
        last(ddim(clipped(denoiser(predict, "eps", schedule)), x, spaced(schedule.T, preset.walk_steps), schedule))
    chosen = plan(net, calls[0])
    return Base(net, schedule, chosen, record(net, chosen, calls, schedule.T), weights_sha256(folder)), config["side"]


def finish(run: Run, preset: Preset, base: Base, entries: tuple[Entry, ...]) -> None:
    """Ship the runs of LSQ and TDQ with the first seed, what every run found, and the ranges that were observed."""
    places = {entry: run.folder / entry.id for entry in entries}
    found = {entry: result_of(entry, base, preset.recipe, place) for entry, place in places.items()}
    done = {entry: result for entry, result in found.items() if result is not None}
    target = (run.options.out or MODELS) / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for entry in done:
        if entry in shipped(entries):
            shutil.copytree(places[entry], target / entry.id)
    save_file(ranges_of(base), target / RANGES)
    results = [{**result, "shipped": entry in shipped(entries)} for entry, result in done.items()]
    (target / RUNS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    digests = {path.relative_to(target).as_posix(): file_sha256(path) for path in target.rglob("*.safetensors")}
    metrics = metrics_of(done) | {"runs": len(done), "runs_left": len(entries) - len(done)}
    run.step = len(done) * preset.recipe.steps
    builds_on, sha256 = {BASE_FOLDER: base.sha256}, combined_sha256(digests)
    facts = facts_of(run, asdict(preset), metrics, builds_on, sha256)
    facts["minutes"] = round(sum(result["seconds"] for result in done.values()) / 60 / run.processes, 1)
    write_facts(facts, target / "metrics.json", target / "README.md")
    tell_ledger(run, FOLDER, sha256, metrics, builds_on)
    run.say(f"{metrics}")


def shipped(entries: tuple[Entry, ...]) -> set[Entry]:
    """LSQ and TDQ with the first seed, at each number of bits, as the paper has them."""
    return {
        one
        for one in entries
        if one == Entry(one.method, one.weight_bits, one.activation_bits, SHIPPED_SEED) and one.method in ("lsq", "tdq")
    }


def metrics_of(done: dict[Entry, dict[str, Any]]) -> dict[str, float]:
    """How far from the base's guess each kind of run ends, as the mean over its seeds."""
    kinds: dict[str, list[float]] = {}
    for entry, result in done.items():
        name = entry.id.replace(f"-{entry.method}-{entry.seed}", f"-{entry.method}", 1)
        kinds.setdefault(f"eps_mse_{name.replace('-', '_')}", []).append(result["eps_mse"])
    return {name: round(mean(values), 5) for name, values in kinds.items()}


def ranges_of(base: Base) -> dict[str, torch.Tensor]:
    """What was observed of every layer's input: `t`, and `NAME.low` and `NAME.high` at each of these times. (calls,)"""
    tensors = {"t": next(iter(base.seen.values()))[0].t}
    for name, (seen,) in base.seen.items():
        tensors |= {f"{name}.low": seen.low, f"{name}.high": seen.high}
    return {name: value.contiguous() for name, value in tensors.items()}


def main(options: Options) -> None:
    launch(worker, options)
