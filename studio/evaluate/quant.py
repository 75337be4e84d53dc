"""What does quantization cost? Every simulated method at the bits of So et al. (2306.02316), the real ones that run
here, and the runs that were trained with quantization, on the DDPM on pixels: beside its full precision, from the same
noise. With `--model` a text-to-image model, such as little-world, is asked instead.

The preflight comes first: how strongly each layer's range goes with t, and how far it moves. No row says anything of
speed or memory: `bench quant` does, of the real methods. `--model` may name a folder of trained runs below models/ too;
without it `tdq`. The page reads the answers from models/evaluations/quant-pixel-ddpm.json and quant-MODEL.json.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from studio.diffusion.exported import unpack
from studio.diffusion.observe import Call, plan, record
from studio.diffusion.seen import Seen
from studio.engine.pixel import PixelModel
from studio.errors import ModelUnavailable
from studio.evaluate import quant_text
from studio.evaluate.ask import Ask
from studio.evaluate.pixel import truth_of
from studio.evaluate.quant_measures import Drawn, Judge, bits_name, gain_rows, rows_of, say
from studio.evaluate.quant_walks import PixelWalks, Real, psnr_row
from studio.evaluate.report import Report, ReportRow, bootstrap_mean
from studio.lineage import require_same, weights_sha256
from studio.perception.measure import Measure
from studio.quant.method import Recipe
from studio.quant.methods import running
from studio.quant.simulated import TIMES
from studio.quant.simulated_methods import SIMULATED, timed_where

BITS = {
    "smoke": ((8, 8), (8, 4)),
    "cpu": ((8, 8), (8, 6), (8, 5), (8, 4), (4, 8)),
    "gpu": ((8, 8), (8, 6), (8, 5), (8, 4), (4, 8)),
}
SAMPLES = {"smoke": 4, "cpu": 128, "gpu": 2_048}
STEPS = {"smoke": 2, "cpu": 20, "gpu": 50}
SWEEP = {"smoke": (3,), "cpu": (100, 10), "gpu": (100, 50, 20, 10)}
"""The numbers of steps of the paper's figure 8."""
SWEPT_BITS = ((8, 4), (4, 4))
SWEPT_METHODS = ("mse", "tdq_ptq")
SWEPT_TRAINED = ("lsq-0", "tdq-0")
SWEPT_SAMPLES = 16
GROUPED_BITS, GROUPS = (8, 5), ("least", "middle", "most")
CALIBRATION_STEPS, CALIBRATION_PICTURES, CALIBRATION_SEED = 25, 20, 7
RESULT, WEIGHTS = "result.json", "quantized.safetensors"
PAPERS_SHARES = {0.5: 0.621, 0.7: 0.388}
"""Of the layers whose |r| is above; as told of So et al. by a secondary source."""


def run(settings: Any, ask: Ask) -> Report:
    """The rows, the preflight's first. Raises ModelUnavailable without the DDPM."""
    if quant_text.is_text(settings, ask.model):
        return quant_text.run(settings, ask)
    if ask.model is not None and not (settings.models_dir / ask.model).is_dir():
        raise ModelUnavailable("model_missing", model=ask.model, missing=RESULT)
    started = time.monotonic()
    folder, runs = settings.models_dir / "ddpm", settings.models_dir / (ask.model or "tdq")
    model, eye = PixelModel.load(folder), Measure.load(settings.models_dir / "perception")
    count = ask.samples or SAMPLES[ask.preset]
    calls = calibration(model, eye)
    rows = [*preflight(model.net, calls)]
    say(f"preflight: {len(rows)} rows", started)
    truth = truth_of(eye, model.side, count, ask.seed)
    walks = PixelWalks(eye, model, truth.labels, STEPS[ask.preset])
    judge = Judge(walks, model.net, Real(truth.features, truth.floor), ask.seed)
    rows += judge.full_rows()
    kept: dict[str, Drawn] = {}
    for name, net in networks(model, calls, BITS[ask.preset], runs, folder):
        kept[name] = judge.drawn(net)
        rows += rows_of(name, kept[name], judge)
        say(f"{name}: PSNR {float(kept[name].psnr.mean()):.2f} dB", started)
    rows += gain_rows(kept, ask.seed)
    rows += group_rows(model.net, calls, judge)
    say("groups of layers", started)
    rows += sweep_rows(walks, calls, runs, folder, ask)
    return Report(
        command="evaluate quant",
        rows=tuple(rows),
        model_id="ddpm",
        model_sha256=weights_sha256(folder),
        eye=eye.sha256,
        preset=ask.preset,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def calibration(model: PixelModel, eye: Measure) -> Sequence[Call]:
    """What the network is asked on its own walks back, of every kind, over all t."""
    labels = torch.arange(CALIBRATION_PICTURES) % len(model.classes)
    return PixelWalks(eye, model, labels, CALIBRATION_STEPS).walk(model.net, CALIBRATION_SEED).calls


def preflight(net: nn.Module, calls: Sequence[Call]) -> Iterator[ReportRow]:
    """Of every layer, how its range goes with t: Pearson's r, and the largest range over the smallest; and of all."""
    chosen = plan(net, calls[0])
    seen: dict[str, Seen] = {name: parts[0] for name, parts in record(net, chosen, calls, TIMES).items()}
    r = torch.tensor([abs(one.correlation()) for one in seen.values()])
    ratios = torch.tensor([one.ratio() for one in seen.values()])
    where = f"{len(seen)} layers, {len(calls)} times"
    for bound, told in PAPERS_SHARES.items():
        share = float((r > bound).float().mean())
        yield ReportRow(f"share_abs_r_above_{bound}", share, "share", f"{where}; the paper, second hand: {told:g}")
    yield ReportRow("median_range_ratio", float(ratios.median()), "times", where, baseline=1.0)
    yield ReportRow("weights_covered", chosen.weight_share, "share", where)
    yield ReportRow("arithmetic_covered", chosen.mac_share, "share", where)
    for name, one in seen.items():
        yield ReportRow("range_r", one.correlation(), "", name)
        yield ReportRow("range_ratio", one.ratio(), "times", name, baseline=1.0)


def networks(
    model: PixelModel, calls: Sequence[Call], bits: Sequence[tuple[int, int]], runs: Path, base: Path
) -> Iterator[tuple[str, nn.Module]]:
    """The real methods that run here, every simulated one at every number of bits, and every trained run, by name; one
    at a time."""
    for method in running("cpu"):
        yield method.id, method.apply(model.net, Recipe(method.weight_bits[0], method.activation_bits[0], calls))
    for weight_bits, activation_bits in bits:
        for method in SIMULATED:
            name = f"{bits_name(weight_bits, activation_bits)} {method.id}"
            yield name, method.apply(model.net, Recipe(weight_bits, activation_bits, calls))
    yield from trained(model, runs, base)


def trained(model: PixelModel, runs: Path, base: Path) -> Iterator[tuple[str, nn.Module]]:
    """The networks of a folder of runs. Raises ModelUnavailable for one that was trained from another base."""
    for path in sorted(runs.glob(f"*/{RESULT}")):
        result = json.loads(path.read_text(encoding="utf-8"))
        require_same(result["id"], "ddpm", result["base"], weights_sha256(base))
        entry = result["entry"]
        bits = entry["weight_bits"], entry["activation_bits"]
        name = f"{bits_name(*bits)} {result['id'].partition('-')[2]} trained"
        yield name, unpack(model.net, load_file(path.with_name(WEIGHTS)), *bits, model.schedule.T)


def dependence(net: nn.Module, calls: Sequence[Call]) -> dict[str, float]:
    """How strongly each layer depends on t: |r| of its range and t, times the logarithm of its largest range over its
    smallest; 0 where either says that there is nothing to gain."""
    seen = record(net, plan(net, calls[0]), calls, TIMES)
    return {name: abs(parts[0].correlation()) * math.log(parts[0].ratio()) for name, parts in seen.items()}


def group_rows(net: nn.Module, calls: Sequence[Call], judge: Judge) -> Iterator[ReportRow]:
    """Where steps that know the time gain: the layers in thirds, by how strongly they depend on t. Each third alone has
    a step of its own for each t, all the others one step; the error is told beside that of one step for all, and as the
    share of it that is gained."""
    strengths = dependence(net, calls)
    ordered = sorted(strengths, key=lambda name: strengths[name])
    recipe = Recipe(*GROUPED_BITS, calls)
    bits = bits_name(*GROUPED_BITS)
    static = judge.eps_mse(timed_where(net, recipe, ()))
    for index, group in enumerate(GROUPS):
        names = ordered[index * len(ordered) // len(GROUPS) : (index + 1) * len(ordered) // len(GROUPS)]
        timed = judge.eps_mse(timed_where(net, recipe, names))
        where = f"{bits}, the {len(names)} layers that depend {group} on t"
        mean = sum(strengths[name] for name in names) / max(1, len(names))
        yield ReportRow("time_dependence", mean, "", where)
        values, base = timed.tolist(), float(static.mean())
        low, high = bootstrap_mean(values, judge.seed)
        yield ReportRow("eps_mse", float(timed.mean()), "", where, low, high, baseline=base, sense="lower")
        gains = (1 - timed / static).tolist()
        gain = sum(gains) / len(gains)
        yield ReportRow("eps_mse_gained", gain, "share", where, *bootstrap_mean(gains, judge.seed), baseline=0.0)


def sweep_rows(walks: PixelWalks, calls: Sequence[Call], runs: Path, base: Path, ask: Ask) -> Iterator[ReportRow]:
    """The same tables at other numbers of steps: PSNR to full precision, from the same noise."""
    model = walks.model
    nets = [
        (f"{bits_name(*bits)} {method.id}", method.apply(model.net, Recipe(*bits, calls)))
        for bits in SWEPT_BITS
        for method in SIMULATED
        if method.id in SWEPT_METHODS
    ]
    swept = {f"{bits_name(*bits)} {name} trained" for bits in SWEPT_BITS for name in SWEPT_TRAINED}
    nets += [(name, net) for name, net in trained(model, runs, base) if name in swept]
    for steps in SWEEP[ask.preset]:
        few = replace(walks, labels=walks.labels[:SWEPT_SAMPLES], steps=steps)
        full = few.walk(model.net, ask.seed)
        for name, net in nets:
            yield psnr_row(few.walk(net, ask.seed), full, f"{name}, {steps} steps", ask.seed)
