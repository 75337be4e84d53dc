"""Looking into a model's folder, and harming it."""

from __future__ import annotations

from pathlib import Path

from studio.engine.folders import look_through


def weights(folder: Path, part: str) -> Path:
    return next((folder / part).glob("*.safetensors"))


def names_read(folder: Path, prefer_half: bool) -> set[str]:
    files = look_through(folder, "x", prefer_half).files
    return {file.name for file in files if file.suffix == ".safetensors"}
