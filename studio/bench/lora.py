"""How fast do LoRAs come, change and go, against stock diffusers (peft) on the same files in the same run?

Two files of random weights, of rank 8 on every linear layer of UNet and text encoder, so that nothing need be trained.
The studio's times hold everything between a request and its first step: leases, the view, and merging the weights.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from studio.bench.text2img import default_request
from studio.bench.timing import interleave, median_row, ratio_row
from studio.build import Studio, build_studio
from studio.diffusion.lora_keys import written
from studio.engine.lora_base import BaseWeights
from studio.engine.lora_tags import CONTROL_ID
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.settings import Settings
from studio.types import ControlUse, GenerationRequest, ModelSpec, PipelineKey, Task

ROUNDS = {"smoke": 2, "cpu": 11, "gpu": 30}
RANK = 8
NAMES = ("one", "two")
MOST_SWAP_MILLISECONDS = 10.0
MOST_OF_A_STEP = 1.1
LATENT_SIDE_PIXELS = 8
"""Pixels of a picture for one of its latents."""


@dataclass(frozen=True)
class Ways:
    """The studio and stock diffusers over the same base, each with both files at hand."""

    studio: Studio
    plain: GenerationRequest
    uses: tuple[ControlUse, ...]
    stock: Any

    def studio_ready(self, *uses: ControlUse) -> None:
        """What comes between a request and its first step."""
        request = replace(self.plain, controls=uses)
        with self.studio.registry.lease_for(request) as lease:
            view = lease.view(Task.TEXT_TO_IMAGE, request.scheduler)
            with lease.steered(view):
                pass

    def studio_step(self, inputs: tuple[Any, ...], *uses: ControlUse) -> None:
        request = replace(self.plain, controls=uses)
        with self.studio.registry.lease_for(request) as lease:
            view = lease.view(Task.TEXT_TO_IMAGE, request.scheduler)
            with lease.steered(view), torch.inference_mode():
                view.unet(*inputs)

    def stock_weights(self, **weights: float) -> None:
        self.stock.enable_lora()
        self.stock.set_adapters(list(weights), list(weights.values()))


def run(settings: Settings, ask: Ask) -> Report:
    """Time `ask.samples` rounds of everything."""
    started = time.perf_counter()
    rounds = ask.samples or ROUNDS[ask.preset]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)  # several is what is wanted
        own = Path(folder)
        studio = build_studio(replace(settings, data_dir=own))
        try:
            plain = default_request(studio, ask.model or next(iter(studio.specs)), ask.seed)
            with studio.registry.lease(studio.registry.key(plain.base_id)) as base:
                files = _files(studio, base.spec, own / "files")
                rows = [*first_load_rows(studio, plain, files, rounds)]
                ways = Ways(studio, plain, uses_of(studio, files), _stock(studio, plain, files))
                where = f"{base.pipeline.device}, {base.pipeline.dtype}, rank {RANK}"
                rows += [*change_rows(ways, rounds, where), *step_rows(ways, base.pipeline, rounds, where)]
                key, sha256 = base.pipeline, base.components.sha256
        finally:
            studio.jobs.close()
    return Report(
        command="bench lora",
        rows=tuple(rows),
        model_id=plain.base_id,
        model_sha256=sha256,
        preset=ask.preset,
        device=key.device,
        seed=ask.seed,
        samples=rounds,
        seconds=time.perf_counter() - started,
    )


def _files(studio: Studio, spec: ModelSpec, folder: Path) -> list[Path]:
    """Random LoRAs for a base."""
    folder.mkdir(parents=True)
    base = studio.loras.base(spec.family)
    return [_random_file(folder / f"{name}.safetensors", base, seed) for seed, name in enumerate(NAMES)]


def _random_file(path: Path, base: BaseWeights, seed: int) -> Path:
    """Rank RANK on every linear layer, in half precision, as diffusers lays it out."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for part, modules in base.modules.items():
        for module, shape in modules.items():
            if len(shape) == 2:
                stem = f"{part}.{written(part, module)}"
                for name, sides in (("lora_A", (RANK, shape[1])), ("lora_B", (shape[0], RANK))):
                    drawn = torch.randn(sides, generator=generator) * 0.1 / math.sqrt(RANK)
                    tensors[f"{stem}.{name}.weight"] = drawn.half()
    save_file(tensors, path)
    return path


def uses_of(studio: Studio, files: list[Path]) -> tuple[ControlUse, ...]:
    """Each file through the gate onto the shelf and into the registry."""
    base_id = next(iter(studio.specs))
    items = [studio.loras.add(path, path.name, base_id) for path in files]
    for item in items:
        assert item.spec is not None
        studio.registry.admit(item.spec)
    return tuple(ControlUse(CONTROL_ID, item.spec.id) for item in items if item.spec is not None)


def _stock(studio: Studio, plain: GenerationRequest, files: list[Path]) -> Any:
    """diffusers' own pipeline, from the same folder, with both files loaded."""
    stock = _pipeline(studio, plain)
    for path in files:
        stock.load_lora_weights(path.parent, weight_name=path.name, adapter_name=path.stem)
    return stock


def _pipeline(studio: Studio, plain: GenerationRequest) -> Any:
    from diffusers import StableDiffusionPipeline

    key = studio.registry.key(plain.base_id)
    found = studio.places.look()[plain.base_id].source
    assert found is not None
    pipeline = StableDiffusionPipeline.from_pretrained(
        Path(found.repo) / found.subfolder, dtype=getattr(torch, key.dtype)
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(key.device)


def first_load_rows(studio: Studio, plain: GenerationRequest, files: list[Path], rounds: int) -> list[ReportRow]:
    """From a file to ready: gate, reading, clone and merge, against `load_lora_weights`."""
    ours, theirs = [], []
    stock = _pipeline(studio, plain)
    for turn in range(rounds + 1):
        fresh = files[0].with_name(f"fresh-{turn}.safetensors")
        fresh.write_bytes(files[0].read_bytes())
        with fresh.open("r+b") as file:  # another file for the registry: one byte of a weight differs
            file.seek(-2, 2)
            file.write(bytes([turn]))
        started = time.perf_counter()
        (use,) = uses_of(studio, [fresh])
        Ways(studio, plain, (), None).studio_ready(use)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        stock.load_lora_weights(fresh.parent, weight_name=fresh.name, adapter_name="fresh")
        theirs.append(time.perf_counter() - started)
        stock.unload_lora_weights()
    return [
        median_row("first_load_ms", [1_000 * one for one in ours[1:]], "ms", "gate and hashes included"),
        median_row("stock_first_load_ms", [1_000 * one for one in theirs[1:]], "ms", "load_lora_weights"),
    ]


def change_rows(ways: Ways, rounds: int, where: str) -> list[ReportRow]:
    """Rows of another LoRA, another weight, two at once, and none; each beside what stock takes."""
    one, two = ways.uses
    weights = iter(range(1, 10_000))

    def another_weight() -> None:
        ways.studio_ready(replace(one, scale=0.5 + next(weights) / 20_000))

    changes: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "swap": (lambda: ways.studio_ready(two), lambda: ways.stock_weights(two=1.0)),
        "weight": (another_weight, lambda: ways.stock_weights(one=0.5)),
        "two_at_once": (lambda: ways.studio_ready(one, two), lambda: ways.stock_weights(one=1.0, two=1.0)),
        "unload": (lambda: ways.studio_ready(), lambda: ways.stock.disable_lora()),
    }
    rows = []
    for name, (ours, theirs) in changes.items():
        spent = interleave({"ours": ours, "stock": theirs}, rounds)
        target = MOST_SWAP_MILLISECONDS if name == "swap" else None
        rows.append(median_row(f"{name}_ms", _milliseconds(spent["ours"].seconds), "ms", where, target))
        rows.append(median_row(f"stock_{name}_ms", _milliseconds(spent["stock"].seconds), "ms", where))
    return rows


def step_rows(ways: Ways, key: PipelineKey, rounds: int, where: str) -> list[ReportRow]:
    """What a step takes with one LoRA, of one without, in the studio and in stock."""
    unet = ways.stock.unet
    side = ways.plain.width // LATENT_SIDE_PIXELS
    generator = torch.Generator().manual_seed(0)
    latents, text = (
        torch.randn(shape, generator=generator).to(unet.device, unet.dtype)
        for shape in ((2, unet.config.in_channels, side, side), (2, 64, unet.config.cross_attention_dim))
    )
    inputs = (latents, torch.tensor(500, device=unet.device), text)

    def stock_step(loaded: bool) -> None:
        ways.stock_weights(one=1.0) if loaded else ways.stock.disable_lora()
        with torch.inference_mode():
            unet(*inputs)

    with contextlib.suppress(ValueError):
        ways.stock.delete_adapters("two")
    steps = interleave(
        {
            "without": lambda: ways.studio_step(inputs),
            "with": lambda: ways.studio_step(inputs, ways.uses[0]),
            "stock_without": lambda: stock_step(False),
            "stock_with": lambda: stock_step(True),
        },
        rounds,
    )
    return [
        ratio_row("step_with_over_without", steps["with"].seconds, steps["without"].seconds, where, MOST_OF_A_STEP),
        ratio_row("stock_step_with_over_without", steps["stock_with"].seconds, steps["stock_without"].seconds, where),
        median_row("step_ms", _milliseconds(steps["with"].seconds), "ms", where),
    ]


def _milliseconds(seconds: list[float]) -> list[float]:
    return [1_000 * one for one in seconds]
