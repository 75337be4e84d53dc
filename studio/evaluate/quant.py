"""What does quantization cost? Every simulated method at the bits of So et al. (2306.02316), and the runs that were
trained with quantization, on the DDPM on pixels: beside its full precision, from the same noise.

The preflight comes first: how strongly each layer's range goes with t, and how far it moves. The rows of a method say
nothing of speed or memory: it rounds as if. `--model` names a folder of trained runs below models/; without it `tdq`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from studio.diffusion.exported import unpack
from studio.diffusion.observe import Call, plan, record
from studio.diffusion.seen import Seen
from studio.engine.pixel import PixelModel
from studio.evaluate.ask import Ask
from studio.evaluate.quant_measures import Drawn, Judge, Walked, bits_name, gain_rows, rows_of
from studio.evaluate.report import Report, ReportRow, folder_sha256
from studio.lineage import require_same, weights_sha256
from studio.perception.measure import Measure
from studio.quant.method import Recipe
from studio.quant.simulated import TIMES
from studio.quant.simulated_methods import SIMULATED

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
CALIBRATION_STEPS, CALIBRATION_PICTURES, CALIBRATION_SEED = 25, 20, 7
RESULT, WEIGHTS = "result.json", "quantized.safetensors"
PAPERS_SHARES = {0.5: 0.621, 0.7: 0.388}
"""Of the layers whose |r| is above; as told of So et al. by a secondary source."""


def run(settings: Any, ask: Ask) -> Report:
    """The rows, the preflight's first. Raises ModelUnavailable without the DDPM."""
    started = time.monotonic()
    folder = settings.models_dir / "ddpm"
    model, eye = PixelModel.load(folder), Measure.load(settings.models_dir / "perception")
    count = ask.samples or SAMPLES[ask.preset]
    calls = calibration(model)
    rows = [*preflight(model.net, calls)]
    _say(f"preflight: {len(rows)} rows, {time.monotonic() - started:.0f} s")
    judge = Judge(eye, model, count, ask.seed, STEPS[ask.preset])
    rows += judge.full_rows()
    kept: dict[str, Drawn] = {}
    for name, net in networks(model, calls, BITS[ask.preset], settings.models_dir / (ask.model or "tdq"), folder):
        kept[name] = judge.drawn(net)
        rows += rows_of(name, kept[name], judge)
        _say(f"{name}: PSNR {float(kept[name].psnr.mean()):.2f} dB, {time.monotonic() - started:.0f} s")
    rows += gain_rows(kept, ask.seed)
    rows += sweep_rows(model, calls, settings.models_dir / (ask.model or "tdq"), folder, ask)
    return Report(
        command="evaluate quant",
        rows=tuple(rows),
        model_id="ddpm",
        model_sha256=folder_sha256(folder),
        eye=eye.sha256,
        preset=ask.preset,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def calibration(model: PixelModel) -> list[Call]:
    """What the network is asked on its own walks back, of every kind, over all t."""
    labels = torch.arange(CALIBRATION_PICTURES) % len(model.classes)
    walked = Walked.of(model, model.net, labels, CALIBRATION_STEPS, CALIBRATION_SEED)
    return [((xt, torch.full((len(xt),), t), labels), {}) for t, xt in zip(walked.times, walked.inputs, strict=True)]


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
    """Every simulated method at every number of bits, and every trained run, by name; one at a time."""
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


def sweep_rows(model: PixelModel, calls: Sequence[Call], runs: Path, base: Path, ask: Ask) -> Iterator[ReportRow]:
    """The same tables at other numbers of steps: PSNR to full precision, from the same noise."""
    count = min(SWEPT_SAMPLES, ask.samples or SAMPLES[ask.preset])
    labels = torch.arange(count) % len(model.classes)
    nets = [
        (f"{bits_name(*bits)} {method.id}", method.apply(model.net, Recipe(*bits, calls)))
        for bits in SWEPT_BITS
        for method in SIMULATED
        if method.id in SWEPT_METHODS
    ]
    swept = {f"{bits_name(*bits)} {name} trained" for bits in SWEPT_BITS for name in SWEPT_TRAINED}
    nets += [(name, net) for name, net in trained(model, runs, base) if name in swept]
    for steps in SWEEP[ask.preset]:
        full = Walked.of(model, model.net, labels, steps, ask.seed)
        for name, net in nets:
            yield Walked.of(model, net, labels, steps, ask.seed).psnr_row(full, f"{name}, {steps} steps", ask.seed)


def _say(text: str) -> None:
    print(f"[evaluate quant] {text}", flush=True)
