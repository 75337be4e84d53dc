"""What a finished run leaves behind: weights, metrics, and a row in the ledger."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import torch

from studio.train.run import MODELS, Run

LEDGER_HEAD = (
    "| artefact | preset | device | minutes | steps | seed | sha256 | metrics | builds on | a larger run would buy |"
)


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_sha256(folder: Path) -> str:
    """One hash over all weight files of a folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def save_component(
    model: Any, folder: Path, run: Run, preset: dict[str, Any], metrics: dict[str, Any], **builds_on: str
) -> None:
    """Write a diffusers or transformers model in half precision, with metrics.json beside it; old shards go first."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.safetensors*"):
        stale.unlink()
    model.to(torch.float16).save_pretrained(folder, max_shard_size="9MB", safe_serialization=True)
    model.to(torch.float32)
    write_metrics(folder, run, preset, metrics, **builds_on)


def write_metrics(
    folder: Path, run: Run, preset: dict[str, Any], metrics: dict[str, Any], **builds_on: str
) -> None:
    """metrics.json: all that a card and the ledger say of this artefact."""
    facts = {
        "stage": run.stage,
        "preset": run.options.preset,
        "preset_values": preset,
        "device": device_name(run),
        "minutes": round(run.seconds / 60, 1),
        "steps": run.step,
        "seed": run.options.seed,
        "warm_start": run.options.init_from is not None,
        "metrics": metrics,
        "builds_on": builds_on,
        "sha256": weights_sha256(folder),
    }
    (folder / "metrics.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def device_name(run: Run) -> str:
    if run.device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{run.processes} x {platform.machine()} core"


def write_ledger_row(run: Run, artefact: str, folder: Path, metrics: dict[str, Any]) -> None:
    """Replace the artefact's row in models/TRAINING.md. What a person wrote in its last column stays."""
    if run.options.out is not None or run.options.preset == "smoke":
        return
    path = MODELS / "TRAINING.md"
    lines = path.read_text(encoding="utf-8").splitlines()
    if LEDGER_HEAD not in lines:
        lines += ["", LEDGER_HEAD, "|" + " --- |" * LEDGER_HEAD.count(" | ") + " --- |"]
    old = next((i for i, line in enumerate(lines) if line.startswith(f"| {artefact} |")), None)
    wanted = lines[old].split(" | ")[-1].rstrip(" |") if old is not None else ""
    builds_on = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["builds_on"]
    cells = [
        artefact, run.options.preset, device_name(run), f"{run.seconds / 60:.0f}", str(run.step),
        str(run.options.seed), weights_sha256(folder)[:12],
        ", ".join(f"{k} {v}" for k, v in metrics.items() if not isinstance(v, list)),
        ", ".join(f"{k} {v[:12]}" for k, v in builds_on.items()), wanted,
    ]  # fmt: skip
    row = "| " + " | ".join(cells) + " |"
    if old is None:
        lines.append(row)
    else:
        lines[old] = row
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
