"""What a finished run leaves behind: weights, metrics, and a row in the ledger."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from studio.lineage import weights_sha256 as weights_sha256
from studio.train.places import MODELS
from studio.train.run import Run

LEDGER_COLUMNS = ("artefact", "preset", "device", "minutes", "steps", "seed", "sha256", "metrics", "builds on")
BY_HAND = "a larger run would buy"  # the ledger's last column
LICENSE = "apache-2.0"
OWN_SCENES = "scenes that the studio draws itself (`studio/world`; no other data)"


def latents_sha256(vae_folder: Path) -> str:
    """The hash of what defines an autoencoder's latents: its encoder and its scale, but not its decoder."""
    config = json.loads((vae_folder / "config.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(str(config["scaling_factor"]).encode())
    for path in sorted(vae_folder.glob("*.safetensors")):
        tensors = load_file(path)
        for name in sorted(name for name in tensors if name.startswith("encoder.")):
            digest.update(name.encode())
            digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def edit_config(folder: Path, drop: tuple[str, ...] = (), **values: Any) -> None:
    """Take keys out of a folder's config.json, and set others."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in drop}
    path.write_text(json.dumps({**kept, **values}, indent=2) + "\n", encoding="utf-8")


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


def write_metrics(folder: Path, run: Run, preset: dict[str, Any], metrics: dict[str, Any], **builds_on: str) -> None:
    """metrics.json: all that a card and the ledger say of this artefact; and the card."""
    facts = facts_of(run, preset, metrics, builds_on, weights_sha256(folder))
    write_facts(facts, folder / "metrics.json", folder / "README.md")


def write_facts(facts: dict[str, Any], path: Path, card: Path) -> None:
    path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    card.write_text(card_of(facts), encoding="utf-8")


def facts_of(
    run: Run, preset: dict[str, Any], metrics: dict[str, Any], builds_on: dict[str, str], sha256: str, **more: Any
) -> dict[str, Any]:
    """All that is known of an artefact. more: `command`, `data` and `license` (None: its owner's to choose), where they
    are other ones; `usage`, Python for the card."""
    return {
        "stage": run.stage,
        **({"kind": run.options.kind} if run.options.kind else {}),
        "preset": run.options.preset,
        "preset_values": preset,
        "device": device_name(run),
        "minutes": round(run.seconds / 60, 1),
        "steps": run.step,
        "seed": run.options.seed,
        "warm_start": run.options.init_from is not None,
        "metrics": metrics,
        "builds_on": builds_on,
        "sha256": sha256,
        "license": LICENSE,
        **more,
    }


def card_of(facts: dict[str, Any]) -> str:
    """The model card of an artefact, from its metrics.json."""
    kind = f" --kind {facts['kind']}" if "kind" in facts else ""
    command = facts.get("command", f"{facts['stage']}{kind}")
    warm = ", from shipped weights" if facts["warm_start"] else ""
    trained = f"{facts['minutes']} minutes on {facts['device']}, {facts['steps']} steps, seed {facts['seed']}{warm}"
    lines = [
        "---",
        *([f"license: {facts['license']}"] if facts["license"] else []),
        "library_name: diffusers",
        "tags: [diffusion-studio, little-world]",
        "---",
        "",
        f"# Diffusion Studio, stage `{command}`",
        "",
        f"Trained on {facts.get('data', OWN_SCENES)}, by",
        f"`python -m studio train {command} --preset {facts['preset']}`: {trained}.",
        "",
        f"SHA-256 over its weights: `{facts['sha256']}`",
        "",
        "| measured | value |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in facts["metrics"].items()),
    ]
    if facts["builds_on"]:
        lines += ["", "It builds on:", "", *(f"- {name} `{sha256}`" for name, sha256 in facts["builds_on"].items())]
    if "usage" in facts:
        lines += ["", "With stock diffusers:", "", "```python", facts["usage"], "```"]
    return "\n".join(lines) + "\n"


def device_name(run: Run) -> str:
    if run.device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{run.processes} x {platform.machine()} core"


def belongs(run: Run) -> bool:
    """Whether what a run writes is the project's own: neither a trial nor meant for another folder."""
    return run.options.out is None and run.options.preset != "smoke"


def write_ledger_row(run: Run, artefact: str, folder: Path, metrics: dict[str, Any]) -> None:
    """Tell the ledger of the artefact in a folder, which has its metrics.json where it is to be told of."""
    if not belongs(run):
        return
    builds_on = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["builds_on"]
    tell_ledger(run, artefact, weights_sha256(folder), metrics, builds_on)


def tell_ledger(run: Run, artefact: str, sha256: str, metrics: dict[str, Any], builds_on: dict[str, str]) -> None:
    """Tell models/TRAINING.md of an artefact that belongs to the project; a trial or another folder is not told of."""
    if not belongs(run):
        return
    values = {
        "artefact": artefact,
        "preset": run.options.preset,
        "device": device_name(run),
        "minutes": f"{run.seconds / 60:.0f}",
        "steps": str(run.step),
        "seed": str(run.options.seed),
        "sha256": sha256[:12],
        "metrics": ", ".join(f"{name} {value}" for name, value in metrics.items() if not isinstance(value, list)),
        "builds on": ", ".join(f"{name} {sha256[:12]}" for name, sha256 in builds_on.items()),
    }
    path = MODELS / "TRAINING.md"
    path.write_text(ledger_with(path.read_text(encoding="utf-8"), values), encoding="utf-8")


def ledger_with(ledger: str, values: dict[str, str]) -> str:
    """The ledger with the artefact's row replaced, or added. What a person wrote in its last column stays."""
    lines = ledger.splitlines()
    head = f"| {' | '.join((*LEDGER_COLUMNS, BY_HAND))} |"
    if head not in lines:
        lines += ["", head, "|" + " --- |" * (len(LEDGER_COLUMNS) + 1)]
    old = next((i for i, line in enumerate(lines) if line.startswith(f"| {values['artefact']} |")), None)
    by_hand = lines[old].split(" | ")[-1].rstrip(" |") if old is not None else ""
    row = f"| {' | '.join((*(values[column] for column in LEDGER_COLUMNS), by_hand))} |"
    if old is None:
        lines.append(row)
    else:
        lines[old] = row
    return "\n".join(lines) + "\n"
