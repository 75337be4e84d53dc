"""Tiny models on disk, made once, and a registry that loads them as it loads the real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from studio.catalog import little_world, sd15
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.errors import Cancelled
from studio.types import Event, Family, GenerationRequest, Source, Step
from tests.tiny import NATIVE_SIZE, make_little_world, make_sd15

LIMIT_BYTES = 100_000_000


@pytest.fixture(scope="session")
def models_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny models `little-world` and `sd15`. Read only."""
    root = tmp_path_factory.mktemp("models")
    make_little_world(root / "little-world")
    make_sd15(root / "sd15")
    return root


@pytest.fixture(scope="session")
def families() -> tuple[Family, ...]:
    """The catalog's families, their models read from the folder of tiny ones."""
    local = (
        replace(spec, sources=(Source("local", spec.id),), bytes_estimate=1_000_000)
        for spec in (little_world.LITTLE_WORLD, sd15.SD15)
    )
    return tuple(
        replace(family, specs=(spec,)) for family, spec in zip((little_world.FAMILY, sd15.FAMILY), local, strict=True)
    )


@pytest.fixture(scope="session")
def load(models_root: Path) -> FolderLoader:
    return FolderLoader(models_root, offline=True)


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
