"""Which models are at hand: what a page offers, and what it says of the others. Reads no weights, asks no hub."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from studio.engine.loaders import FolderLoader
from studio.errors import ModelUnavailable
from studio.types import ModelSpec, Source

FRESH_SECONDS = 3.0
"""So long an answer is given again without looking: many pages ask, and a model does not come or go that fast."""


@dataclass(frozen=True)
class Place:
    """One model on this machine. problem: why it could not be loaded, or None; source: where it lies, whole or not,
    with the commit of one from a hub; bytes: on the disk."""

    spec: ModelSpec
    problem: ModelUnavailable | None = None
    source: Source | None = None
    bytes: int = 0

    @property
    def present(self) -> bool:
        return self.problem is None

    @property
    def downloadable(self) -> bool:
        """Whether a download would help: a folder of one's own goes before the hub, also a damaged one."""
        own = self.source is not None and self.source.hub == "local"
        return not self.present and not own and bool(self.spec.download_bytes)


class Places:
    """Where the models of a catalog lie on this machine."""

    def __init__(
        self, loader: FolderLoader, specs: Mapping[str, ModelSpec], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loader = loader
        self._specs = specs
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Place] = {}
        self._looked_at = -FRESH_SECONDS

    def look(self, anew: bool = False) -> dict[str, Place]:
        """Every model by its id, in the catalog's order. anew: look, however fresh the last answer is."""
        with self._lock:
            if anew or self._clock() - self._looked_at >= FRESH_SECONDS:
                self._known = {model_id: self._place(spec) for model_id, spec in self._specs.items()}
                self._looked_at = self._clock()
            return dict(self._known)

    def present(self) -> tuple[str, ...]:
        """The ids of the models that can be loaded."""
        return tuple(model_id for model_id, place in self.look().items() if place.present)

    def _place(self, spec: ModelSpec) -> Place:
        source = None
        try:
            source = self._loader.find(spec).source
            _, folder = self._loader.look(spec, spec.dtype)
        except ModelUnavailable as error:
            return Place(spec, ModelUnavailable(error.key, **error.values), source)
        return Place(spec, None, source, sum(file.stat().st_size for file in folder.files))
