"""The tiny models with a ControlNet of each kind, leased as the studio leases the real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from studio.controls import CONTROLS
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.types import Control, Family, ModelSpec, Source
from tests.engine.conftest import families, load, models_root, request_for
from tests.tiny_adapters import make_controlnet

__all__ = ["families", "load", "models_root", "request_for"]

BASES = {"little_world": "little-world", "sd15": "sd15"}
KINDS = ("canny", "depth", "pose")


@pytest.fixture(scope="session")
def controls(models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Control]:
    """The studio's ControlNets, each with tiny weights of its own."""
    root = tmp_path_factory.mktemp("controlnets")

    def tiny(spec: ModelSpec, seed: int) -> ModelSpec:
        make_controlnet(models_root / BASES[spec.family], seed).save_pretrained(root / spec.id)
        return replace(spec, sources=(Source("local", str(root / spec.id)),), bytes_estimate=1_000_000)

    known = {control.id: control for control in CONTROLS if control.id in KINDS}
    return {
        kind: replace(known[kind], specs=tuple(tiny(spec, seed) for spec in known[kind].specs))
        for seed, kind in enumerate(KINDS)
    }


@pytest.fixture(scope="session")
def registry(families: tuple[Family, ...], load: FolderLoader, controls: dict[str, Control]) -> Registry:
    return Registry(families, load, 200_000_000, controls=controls)
