"""Tiny models on disk, made once, and a registry that loads them as it loads the real ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from studio.catalog import FAMILIES
from studio.engine.downloads import Download
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.errors import Cancelled
from studio.events import Event, Step
from studio.types import Family, GenerationRequest, ModelSpec, Source
from tests.hub import FakeHub, served
from tests.tiny import NATIVE_SIZE, make_little_world, make_sd15, make_sdxl

from .following import SPEC

LIMIT_BYTES = 100_000_000


@pytest.fixture(scope="session")
def models_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny models `little-world`, `sd15`, `sd15-inpaint`, `sdxl` and `sdxl-turbo`. Read only."""
    root = tmp_path_factory.mktemp("models")
    make_little_world(root / "little-world")
    make_sd15(root / "sd15")
    make_sd15(root / "sd15-inpaint", seed=2, in_channels=9)
    make_sdxl(root / "sdxl")
    make_sdxl(root / "sdxl-turbo", seed=1, spacing="trailing")
    return root


@pytest.fixture(scope="session")
def families() -> tuple[Family, ...]:
    """The catalog's families, their models read from the folder of tiny ones."""

    def local(spec: ModelSpec) -> ModelSpec:
        return replace(spec, sources=(Source("local", spec.id),), bytes_estimate=1_000_000)

    return tuple(replace(family, specs=tuple(map(local, family.specs))) for family in FAMILIES)


@pytest.fixture(scope="session")
def load(models_root: Path) -> FolderLoader:
    return FolderLoader(models_root)


@pytest.fixture(scope="session")
def registry(families: tuple[Family, ...], load: FolderLoader) -> Registry:
    """Shared by tests that leave its models as they were."""
    return Registry(families, load, LIMIT_BYTES)


@pytest.fixture
def fresh_registry(families: tuple[Family, ...], load: FolderLoader) -> Registry:
    """For tests that harm its models or look at its counters."""
    return Registry(families, load, LIMIT_BYTES)


@dataclass
class Listener:
    """A context that writes events down, and is cancelled once it has seen `stop_after` steps."""

    registry: Registry
    stop_after: int | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        return [event for event in self.events if isinstance(event, Step)]

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def check_cancelled(self) -> None:
        if self.stop_after is not None and len(self.steps) >= self.stop_after:
            raise Cancelled

    def yield_device(self) -> None:
        """Nobody waits."""


@pytest.fixture
def listener(registry: Registry) -> Listener:
    return Listener(registry)


@pytest.fixture(scope="session")
def request_for() -> Callable[..., GenerationRequest]:
    """A valid request for a tiny model; keyword arguments change it."""

    def make(base_id: str = "little-world", **changes: object) -> GenerationRequest:
        values: dict[str, object] = {
            "prompt": "a red house",
            "seed": 7,
            "width": NATIVE_SIZE,
            "height": NATIVE_SIZE,
            "num_inference_steps": 4,
            "guidance_scale": 4.0,
        }
        return GenerationRequest(base_id, **{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def repository(models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a repository of Stable Diffusion 1.5 holds: both precisions, pickles, other programs' files, a picture."""
    from diffusers import DiffusionPipeline

    folder = tmp_path_factory.mktemp("repository")
    pipeline = DiffusionPipeline.from_pretrained(models_root / "sd15")
    pipeline.save_pretrained(folder)
    pipeline.to(torch.float16).save_pretrained(folder, variant="fp16")
    for name in ("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.non_ema.safetensors"):
        (folder / name).write_bytes(b"x" * 10_000)
    for name in ("README.md", "v1-5-pruned.ckpt", "unet/model.onnx", "safety_checker/model.safetensors", "run.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * 5_000)
    return folder


@pytest.fixture
def hub(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine with that repository, as some/repo; nobody is offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with served(repository) as running:
        yield running


@pytest.fixture
def download(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Download:
    """The work of downloading it, which tells of every chunk and waits for nothing."""
    monkeypatch.setattr("studio.engine.downloads.TELL_SECONDS", 0.0)
    return Download(SPEC, tmp_path / "cache", hub.endpoint, pause=lambda seconds: None)


@pytest.fixture
def copy(models_root: Path, tmp_path: Path) -> Path:
    """A little world that a test may harm."""
    shutil.copytree(models_root / "little-world", tmp_path / "little-world")
    return tmp_path / "little-world"


@pytest.fixture(params=["sd15", "sdxl"])
def both_precisions(request: pytest.FixtureRequest, models_root: Path, tmp_path: Path) -> Path:
    """A folder that keeps each weight twice, as repositories do."""
    from diffusers import DiffusionPipeline

    folder = tmp_path / request.param
    shutil.copytree(models_root / request.param, folder)
    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float16)
    pipeline.save_pretrained(folder, variant="fp16")
    (folder / "unet" / "diffusion_pytorch_model.non_ema.safetensors").write_bytes(b"no weights")
    return folder
