"""Resident models: who holds which, and who makes room. Loads once however many ask.

Lock discipline. `_lock` guards `_entries`, the fields of every entry and the counters; it is held for bookkeeping
only, never while a model is loaded. An entry is pinned (leases > 0) from the moment a thread finds or creates it,
so between finding and using nobody can evict it. The thread that creates an entry loads it, outside the lock; the
others wait until the entry is settled. No thread waits for room: what does not fit beside the leased is refused.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from studio.engine.budget import Resident, choose_evictions
from studio.engine.loaders import ComponentSet
from studio.engine.views import build_view
from studio.errors import InvalidInput, ModelUnavailable
from studio.types import Family, ModelSpec, PipelineKey, Scheduler, Task

logger = logging.getLogger(__name__)

Loader = Callable[[ModelSpec, PipelineKey], ComponentSet]


@dataclass(frozen=True)
class Lease:
    """A set that stays in memory while it is held. `family` knows the pipeline class of each task."""

    key: PipelineKey
    components: ComponentSet
    family: Family

    @property
    def spec(self) -> ModelSpec:
        return self.components.spec

    def view(self, task: Task, scheduler: Scheduler) -> Any:
        """A new diffusers pipeline with a new scheduler over the shared components."""
        return build_view(self.components, self.family.pipeline_classes[task], scheduler)


@dataclass(frozen=True)
class ResidentSnapshot:
    """One set in memory, as seen at one moment. bytes: an estimate while it loads."""

    key: PipelineKey
    bytes: int
    leases: int
    loading: bool
    load_seconds: float


@dataclass(frozen=True)
class RegistrySnapshot:
    """What the registry holds and has done, as seen at one moment."""

    resident: tuple[ResidentSnapshot, ...]
    limit_bytes: int
    hits: int
    misses: int
    evictions: int

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.resident)


@dataclass
class _Entry:
    """A set that is loading, resident or failed. Written under the registry's lock; complete once `settled`."""

    key: PipelineKey
    bytes: int
    last_used: float
    leases: int = 1
    settled: threading.Event = field(default_factory=threading.Event)
    components: ComponentSet | None = None
    failure: ModelUnavailable | None = None


class Registry:
    """The models of one device, within a byte budget. `lease` them; nobody else loads or drops one."""

    def __init__(
        self,
        families: Sequence[Family],
        load: Loader,
        limit_bytes: int,
        device: str = "cpu",
        dtype: str = "float32",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._families: Mapping[str, Family] = {spec.id: family for family in families for spec in family.specs}
        self.specs: Mapping[str, ModelSpec] = {spec.id: spec for family in families for spec in family.specs}
        self.limit_bytes = limit_bytes
        self.device = device
        self.dtype = dtype
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[PipelineKey, _Entry] = {}
        self._hits = self._misses = self._evictions = 0

    def key(self, base_id: str, quant_id: str = "none") -> PipelineKey:
        """The key of a model on this registry's device. Raises InvalidInput for a name that is not known."""
        if base_id not in self.specs:
            raise InvalidInput("not_a_choice", field="base_id", value=base_id[:40], choices=", ".join(self.specs))
        if quant_id != "none":
            raise InvalidInput("not_a_choice", field="quant_id", value=quant_id[:40], choices="none")
        return PipelineKey(base_id, quant_id, self.dtype, self.device)

    def is_resident(self, key: PipelineKey) -> bool:
        """Whether a lease would be given without loading."""
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and entry.components is not None

    @contextmanager
    def lease(self, key: PipelineKey) -> Iterator[Lease]:
        """Hold a model, loaded first if it is not resident.

        Raises ModelUnavailable if it cannot be loaded or would not fit beside what is leased; the next lease
        tries again.
        """
        entry, mine = self._pin(key)
        if mine:
            self._fill(entry)
        try:
            yield Lease(key, self._wait(entry), self._families[key.base_id])
        finally:
            with self._lock:
                entry.leases -= 1
                entry.last_used = self._clock()

    def snapshot(self) -> RegistrySnapshot:
        """What is resident now, the longest unused first. Changes nothing."""
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: entry.last_used)
            resident = tuple(
                ResidentSnapshot(
                    entry.key,
                    entry.bytes,
                    entry.leases,
                    loading=entry.components is None,
                    load_seconds=entry.components.load_seconds if entry.components else 0.0,
                )
                for entry in entries
            )
            return RegistrySnapshot(resident, self.limit_bytes, self._hits, self._misses, self._evictions)

    def _pin(self, key: PipelineKey) -> tuple[_Entry, bool]:
        """The entry of `key`, one lease more; True when it is new and the caller has to load it."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.leases += 1
                entry.last_used = self._clock()
                self._hits += 1
                return entry, False
            spec = self.specs[key.base_id]
            self._make_room(key, spec.bytes_estimate)
            self._misses += 1
            entry = self._entries[key] = _Entry(key, spec.bytes_estimate, self._clock())
            return entry, True

    def _fill(self, entry: _Entry) -> None:
        """Load the set of a new entry and settle it, with the set or with why there is none."""
        try:
            components = self._load(self.specs[entry.key.base_id], entry.key)
            with self._lock:
                entry.bytes = 0  # the estimate makes way for what was measured
                self._make_room(entry.key, components.bytes)
                entry.bytes, entry.components = components.bytes, components
        except BaseException as error:
            with self._lock:
                entry.failure = _as_unavailable(error, entry.key.base_id)
                del self._entries[entry.key]
            if not isinstance(error, Exception):
                raise
        finally:
            entry.settled.set()

    def _make_room(self, key: PipelineKey, needed_bytes: int) -> None:
        """Drop what is not leased until `needed_bytes` more fit. Called with the lock held."""
        resident = [Resident(one.key, one.bytes, one.leases > 0, one.last_used) for one in self._entries.values()]
        evicted = choose_evictions(resident, needed_bytes, self.limit_bytes)
        if evicted is None:
            raise ModelUnavailable(
                "no_room", model=key.base_id, needed_mb=needed_bytes // 10**6, limit_mb=self.limit_bytes // 10**6
            )
        for one in evicted:
            del self._entries[one]
        self._evictions += len(evicted)

    @staticmethod
    def _wait(entry: _Entry) -> ComponentSet:
        """The set of an entry, once its load has ended. Each waiter raises an error of its own."""
        entry.settled.wait()
        if entry.failure is not None:
            raise ModelUnavailable(entry.failure.key, **entry.failure.values)
        assert entry.components is not None
        return entry.components


def _as_unavailable(error: BaseException, model_id: str) -> ModelUnavailable:
    """The error without its traceback, whose frames would keep a half-loaded model in memory."""
    if isinstance(error, ModelUnavailable):
        return ModelUnavailable(error.key, **error.values)
    logger.error("loading %s failed", model_id, exc_info=error)
    return ModelUnavailable("load_failed", model=model_id, reason=type(error).__name__)
