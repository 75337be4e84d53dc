"""The only composition root: settings, catalogue, registry, queue and eye become a studio, and a studio a page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from studio.catalog import FAMILIES
from studio.controls import CONTROLS
from studio.errors import StudioError
from studio.settings import ROOT, Settings, resolve
from studio.types import Family, ModelSpec, Source, Task

if TYPE_CHECKING:
    import gradio as gr
    from PIL.Image import Image

    from studio.engine.downloads import Downloads
    from studio.engine.jobs import JobQueue
    from studio.engine.places import Places
    from studio.engine.registry import Registry
    from studio.engine.store import Store
    from studio.engine.upscale import Upscaler
    from studio.perception.measure import Mark, Measure

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Eye(Protocol):
    """Measures how far pictures obey a prompt."""

    def obedience(self, prompt: str, pictures: Sequence[Image]) -> list[tuple[Mark, ...]]:
        """For each picture a mark for every attribute that the prompt names."""


class Late(Generic[T]):
    """A value that is made when it is first asked for, once, whoever asks."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []

    @property
    def ready(self) -> bool:
        return bool(self._made)

    def get(self) -> T:
        """The value. A failed making is tried again by who asks next."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


@dataclass(frozen=True)
class Engine:
    """What runs models, on the device that the settings meant."""

    settings: Settings
    registry: Registry
    jobs: JobQueue


class LateEye:
    """The eye of a folder, opened when it first looks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._measure = Late(self._open)

    def obedience(self, prompt: str, pictures: Sequence[Image]) -> list[tuple[Mark, ...]]:
        return self._measure.get().obedience(prompt, pictures)

    def _open(self) -> Measure:
        from studio.perception.measure import Measure

        return Measure.load(self._folder)


@dataclass(frozen=True)
class Studio:
    """Everything that a page or a command works with. The engine imports torch when it is first used."""

    settings: Settings
    catalog: tuple[Family, ...]
    eye: Eye | None
    store: Store
    engine: Late[Engine]
    upscaler: Upscaler
    places: Places
    downloads: Late[Downloads] | None
    """None where strangers use the studio: nothing is downloaded for them."""

    @property
    def specs(self) -> dict[str, ModelSpec]:
        """The models that pictures can be drawn with from a text alone, by id, the default first."""
        return self.specs_for(Task.TEXT_TO_IMAGE)

    def specs_for(self, task: Task) -> dict[str, ModelSpec]:
        """The models that can do a task, by id, the default first."""
        specs = (spec for family in self.catalog for spec in family.specs)
        return {spec.id: spec for spec in specs if spec.kind == "base" and task in spec.tasks}

    @property
    def started(self) -> bool:
        return self.engine.ready

    @property
    def registry(self) -> Registry:
        return self.engine.get().registry

    @property
    def jobs(self) -> JobQueue:
        return self.engine.get().jobs


def build_studio(settings: Settings) -> Studio:
    """Put a studio together. Imports neither torch nor gradio."""
    from studio.engine.downloads import Downloads
    from studio.engine.loaders import FolderLoader
    from studio.engine.places import Places
    from studio.engine.store import Store
    from studio.engine.upscale import Upscaler

    catalog = offered(settings)
    perception = settings.models_dir / "perception"
    store = Store(settings.data_dir / "history", settings.history_limit_bytes)
    return Studio(
        settings=settings,
        catalog=catalog,
        eye=LateEye(perception) if (perception / "metrics.json").is_file() else None,
        store=store,
        engine=Late(lambda: _build_engine(settings, catalog, store)),
        upscaler=Upscaler(settings.models_dir / "upscale"),
        places=Places(FolderLoader(ROOT), {spec.id: spec for family in catalog for spec in family.specs}),
        downloads=None if settings.public else Late(Downloads),
    )


def catalogue(settings: Settings) -> tuple[Family, ...]:
    """The families that the studio knows, their local files looked for where the settings say."""
    return tuple(_placed(family, settings.models_dir) for family in FAMILIES)


def offered(settings: Settings) -> tuple[Family, ...]:
    """The families of the catalogue; where strangers use the studio, only the models that it carries itself or that
    lie on its machine already."""
    from studio.engine.loaders import FolderLoader
    from studio.engine.places import Places

    families = catalogue(settings)
    if not settings.public:
        return families
    specs = {spec.id: spec for family in families for spec in family.specs}
    carried = {model_id for model_id, spec in specs.items() if all(source.hub == "local" for source in spec.sources)}
    kept = carried.union(Places(FolderLoader(ROOT), specs).present())
    families = tuple(
        replace(family, specs=tuple(spec for spec in family.specs if spec.id in kept)) for family in families
    )
    return tuple(family for family in families if family.specs)


def _placed(family: Family, models_dir: Path) -> Family:
    """The same family with its local files looked for in another folder than the project's own."""
    if models_dir == ROOT / "models":
        return family

    def placed(source: Source) -> Source:
        return replace(source, repo=str(models_dir / Path(source.repo).name)) if source.hub == "local" else source

    specs = tuple(replace(spec, sources=tuple(map(placed, spec.sources))) for spec in family.specs)
    return replace(family, specs=specs)


def _build_engine(settings: Settings, catalog: tuple[Family, ...], store: Store) -> Engine:
    """Find the device and open its queue."""
    import torch

    from studio.engine.backends import convert, open_runtime
    from studio.engine.jobs import JobQueue
    from studio.engine.loaders import FolderLoader
    from studio.engine.registry import Registry
    from studio.engine.tuning import Tuning

    found = resolve(settings)
    limit_bytes = found.ram_limit_bytes if found.device == "cpu" else found.vram_limit_bytes
    if found.threads:
        torch.set_num_threads(found.threads)
    runtime = open_runtime(found.backend, found.device, found.threads)
    on_cuda = found.device != "cpu"
    loader = FolderLoader(
        ROOT,
        convert=partial(convert, runtime) if runtime is not None else None,
        tuning=Tuning(channels_last=on_cuda and found.channels_last, compiled=on_cuda and found.compile),
    )
    registry = Registry(
        catalog,
        loader,
        limit_bytes,
        found.device,
        found.dtype,
        controls={control.id: control for control in CONTROLS},
        ram_limit_bytes=found.ram_limit_bytes if on_cuda else 0,
    )
    return Engine(found, registry, JobQueue(registry, store))


def build_app(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    from studio.tabs import TABS
    from studio.ui.shell import build_shell

    return build_shell(studio, TABS)


def warm(studio: Studio) -> threading.Thread:
    """Open the engine, load the default model beside the page, and compile what its first picture needs.

    What fails is logged here, and told to whoever asks for it.
    """

    def load() -> None:
        try:
            registry = studio.registry
            from studio.engine.backends import prepare

            with registry.lease(registry.key(next(iter(studio.specs)))) as lease:
                prepare(lease)
        except StudioError as error:
            logger.warning("%s", error.message(studio.settings.language))

    thread = threading.Thread(target=load, name="warm", daemon=True)
    thread.start()
    return thread
