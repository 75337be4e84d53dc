"""The only composition root: settings, catalogue, registry, queue and eye become a studio, and a studio a page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from studio.catalog import FAMILIES
from studio.controls import CONTROLS
from studio.errors import StudioError
from studio.settings import ROOT, Settings, resolve
from studio.types import Control, Family, ModelSpec, Source, Task

if TYPE_CHECKING:
    import gradio as gr
    from PIL.Image import Image

    from studio.detectors import Detectors
    from studio.engine.downloads import Downloads
    from studio.engine.jobs import JobQueue
    from studio.engine.lora_shelf import LoraShelf
    from studio.engine.places import Places
    from studio.engine.registry import Registry
    from studio.engine.store import Store
    from studio.engine.upscale import Upscaler
    from studio.perception.measure import Mark, Measure
    from studio.perception.network import Reading
    from studio.quant.method import QuantMethod

T = TypeVar("T")
Specified = TypeVar("Specified", Family, Control)
logger = logging.getLogger(__name__)


class Eye(Protocol):
    """Measures how far pictures obey a prompt."""

    def obedience(self, prompt: str, pictures: Sequence[Image]) -> list[tuple[Mark, ...]]:
        """For each picture a mark for every attribute that the prompt names."""

    def read(self, pictures: Sequence[Image]) -> Reading:
        """Whatever is seen in pictures of any size."""


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

    def read(self, pictures: Sequence[Image]) -> Reading:
        return self._measure.get().read(pictures)

    def _open(self) -> Measure:
        from studio.perception.measure import Measure

        return Measure.load(self._folder)


@dataclass(frozen=True)
class Studio:
    """Everything that a page or a command works with. The engine imports torch when it is first used."""

    settings: Settings
    catalog: tuple[Family, ...]
    controls: tuple[Control, ...]
    methods: tuple[QuantMethod, ...]
    eye: Eye | None
    store: Store
    engine: Late[Engine]
    upscaler: Upscaler
    detectors: Detectors
    loras: LoraShelf
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
    from studio.detectors import Detectors
    from studio.engine.downloads import Downloads
    from studio.engine.loaders import FolderLoader
    from studio.engine.lora_shelf import LoraShelf
    from studio.engine.places import Places
    from studio.engine.store import Store
    from studio.engine.upscale import Upscaler
    from studio.quant.methods import METHODS
    from studio.quant.trained import trained_methods

    catalog, controls = offered(settings), offered_controls(settings)
    methods = (*METHODS, *trained_methods(settings.models_dir / "tdq"))
    perception = settings.models_dir / "perception"
    store = Store(settings.data_dir / "history", settings.history_limit_bytes)
    shipped = {"little_world": settings.models_dir / "little-world" / "loras"}
    loras = LoraShelf(shipped, settings.data_dir / "loras", _by_id(catalog), FolderLoader(ROOT).look)
    return Studio(
        settings=settings,
        catalog=catalog,
        controls=controls,
        methods=methods,
        eye=LateEye(perception) if (perception / "metrics.json").is_file() else None,
        store=store,
        engine=Late(lambda: _build_engine(settings, catalog, controls, methods, store, loras)),
        upscaler=Upscaler(settings.models_dir / "upscale"),
        detectors=Detectors(settings.models_dir),
        loras=loras,
        places=Places(FolderLoader(ROOT), _by_id((*catalog, *controls))),
        downloads=None if settings.public else Late(Downloads),
    )


def catalogue(settings: Settings) -> tuple[Family, ...]:
    """The families that the studio knows, their local files looked for where the settings say."""
    return tuple(_placed(family, settings.models_dir) for family in FAMILIES)


def all_specs(settings: Settings) -> dict[str, ModelSpec]:
    """Every model that the studio knows, those of controls among them, by id."""
    return _by_id((*catalogue(settings), *(_placed(control, settings.models_dir) for control in CONTROLS)))


def offered_controls(settings: Settings) -> tuple[Control, ...]:
    """The controls; where strangers use the studio, only with models that are carried or lie here, as `offered`."""
    return tuple(_kept(_placed(control, settings.models_dir), settings) for control in CONTROLS)


def offered(settings: Settings) -> tuple[Family, ...]:
    """The families of the catalogue; where strangers use the studio, only the models that it carries itself or that
    lie on its machine already."""
    families = (_kept(family, settings) for family in catalogue(settings))
    return tuple(family for family in families if family.specs)


def _kept(owner: Specified, settings: Settings) -> Specified:
    """A family or a control with those models alone that whoever uses the studio may have."""
    from studio.engine.loaders import FolderLoader
    from studio.engine.places import Places

    if not settings.public:
        return owner
    carried = {spec.id for spec in owner.specs if all(source.hub == "local" for source in spec.sources)}
    kept = carried.union(Places(FolderLoader(ROOT), _by_id([owner])).present())
    return replace(owner, specs=tuple(spec for spec in owner.specs if spec.id in kept))


def _by_id(owners: Iterable[Family | Control]) -> dict[str, ModelSpec]:
    return {spec.id: spec for owner in owners for spec in owner.specs}


def _placed(owner: Specified, models_dir: Path) -> Specified:
    """The same family or control with its local files looked for in another folder than the project's own."""
    if models_dir == ROOT / "models":
        return owner

    def placed(sources: tuple[Source, ...]) -> tuple[Source, ...]:
        return tuple(
            replace(one, repo=str(models_dir / Path(one.repo).relative_to("models"))) if one.hub == "local" else one
            for one in sources
        )

    specs = (replace(one, sources=placed(one.sources), image_encoder=placed(one.image_encoder)) for one in owner.specs)
    return replace(owner, specs=tuple(specs))


def _build_engine(
    settings: Settings,
    catalog: tuple[Family, ...],
    controls: tuple[Control, ...],
    methods: tuple[QuantMethod, ...],
    store: Store,
    loras: LoraShelf,
) -> Engine:
    """Find the device and open its queue."""
    import torch

    from studio.engine.backends import convert, open_runtime
    from studio.engine.jobs import JobQueue
    from studio.engine.loaders import FolderLoader
    from studio.engine.registry import Registry
    from studio.engine.tuning import Tuning
    from studio.quant.quantizers import Quantizers

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
        gates={"lora": loras.gate},
    )
    registry = Registry(
        catalog,
        loader,
        limit_bytes,
        found.device,
        found.dtype,
        controls={control.id: control for control in controls},
        quantizers=Quantizers(methods, found.device),
        ram_limit_bytes=found.ram_limit_bytes if on_cuda else 0,
    )
    for spec in loras.specs():
        registry.admit(spec)
    return Engine(found, registry, JobQueue(registry, store))


def build_app(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    from studio.tabs import TABS
    from studio.ui.shell import build_shell

    return build_shell(studio, TABS)


def warm(studio: Studio, then: Callable[[], object] = lambda: None) -> threading.Thread:
    """Open the engine, load the default model beside the page, and compile what its first picture needs.

    What fails is logged here, and told to whoever asks for it. then: called at the end, whatever came of it.
    """

    def load() -> None:
        try:
            registry = studio.registry
            from studio.engine.backends import prepare

            with registry.lease(registry.key(next(iter(studio.specs)))) as lease:
                prepare(lease)
        except StudioError as error:
            logger.warning("%s", error.message(studio.settings.language))
        finally:
            then()

    thread = threading.Thread(target=load, name="warm", daemon=True)
    thread.start()
    return thread
