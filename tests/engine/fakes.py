"""Models of a hundred bytes, a clock that ticks when it is read, and memory that is what a test says it is."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn

from studio.engine.loaders import ComponentSet
from studio.engine.registry import Registry
from studio.types import Control, ControlUse, Family, GenerationRequest, ModelSpec, PipelineKey, Source, Task

MODEL_BYTES = 100
NAMES = ("a", "b", "c", "d")
LORAS = ("x", "y", "z")
LORA_BYTES = 20


def spec(name: str, kind: Any = "base", bytes_estimate: int = MODEL_BYTES) -> ModelSpec:
    return ModelSpec(name, kind, "fake", (Source("local", name),), bytes_estimate=bytes_estimate)


FAMILY = Family("fake", tuple(map(spec, NAMES)), {Task.TEXT_TO_IMAGE: "StableDiffusionPipeline"})
SPECS = {one.id: one for one in (*FAMILY.specs, *(spec(name, "lora", LORA_BYTES) for name in LORAS))}


def weights(size_bytes: int) -> nn.Module:
    """A module that takes so many bytes, a multiple of four."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.zeros(size_bytes // 4), requires_grad=False)
    return module


class FakeLoader:
    """Makes a module of the size it is told, counts, and does what `before` says first."""

    def __init__(self, before: Callable[[], None] = lambda: None, size: int = MODEL_BYTES) -> None:
        self.before = before
        self.size = size
        self.loaded: list[str] = []
        self.loading: Counter[str] = Counter()
        self.most_at_once = 0
        self._alive: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def alive(self) -> int:
        """How many of the modules that it made still are in memory."""
        return len(self._alive)

    def __call__(self, spec: ModelSpec, key: PipelineKey) -> ComponentSet:
        with self._lock:
            self.loaded.append(spec.id)
            self.loading[spec.id] += 1
            self.most_at_once = max(self.most_at_once, self.loading[spec.id])
        try:
            self.before()
            size = self.size if spec.kind == "base" else LORA_BYTES
            module = weights(size)
            module.weight[0] = float(len(self.loaded))  # no two are equal
            with self._lock:
                self._alive.add(module)
            return ComponentSet({"unet": module}, spec, spec.sources[0], size, spec.id, None, load_seconds=0.5)
        finally:
            with self._lock:
                self.loading[spec.id] -= 1


class FakeMover:
    """The processor's memory plays the device, and "meta" the machine's memory. Keeps ids of what it moved."""

    def __init__(self) -> None:
        self.parked: list[int] = []
        self.fetched: list[int] = []
        self.released = 0
        self.fail: Exception | None = None

    def park(self, modules: Collection[nn.Module]) -> None:
        self._maybe_fail()
        self.parked += [id(module.to("meta")) for module in modules]

    def fetch(self, modules: Collection[nn.Module]) -> None:
        self._maybe_fail()
        self.fetched += [id(module.to_empty(device="cpu")) for module in modules if module.weight.is_meta]

    def release(self) -> None:
        self.released += 1

    def _maybe_fail(self) -> None:
        if self.fail is not None:
            raise self.fail


class FakeMeter:
    """Sees the peaks that it is told of, one after another, over a base of a thousand."""

    def __init__(self, peaks: Iterator[int]) -> None:
        self.base_bytes = self.peak_bytes = 1_000
        self._peak_bytes = 1_000 + next(peaks)

    def sample(self) -> None:
        self.peak_bytes = self._peak_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.sample()


def adapt(parts: Mapping[str, Any], sets: Sequence[ComponentSet], uses: Sequence[ControlUse]) -> None:
    """Hang the weights of each adapter on the clone."""
    for one in sets:
        lora = weights(LORA_BYTES)
        lora.weight.data += one.components["unet"].weight
        parts["unet"].register_module(one.spec.id, lora)


@contextmanager
def no_patch(view: Any, sets: Sequence[ComponentSet], uses: Sequence[ControlUse]) -> Iterator[Mapping[str, Any]]:
    yield {}


LORA = Control("lora", tuple(SPECS[name] for name in LORAS), (), lambda use, request: use, adapt, no_patch)


def make(loader: FakeLoader, limit_bytes: int = 2 * MODEL_BYTES, **options: Any) -> Registry:
    ticks = iter(range(10**9))
    controls = {"lora": LORA, **options.pop("controls", {})}
    return Registry((FAMILY,), loader, limit_bytes, clock=lambda: float(next(ticks)), controls=controls, **options)


def use(registry: Registry, *names: str) -> None:
    with registry.lease_all([registry.key(name) for name in names]):
        pass


def resident(registry: Registry) -> set[str]:
    return {one.base_id for one in registry.snapshot().resident if not one.adapters}


def wish(base_id: str, *loras: str) -> GenerationRequest:
    """A request for a fake model with LoRAs."""
    return GenerationRequest(base_id, "x", 1, controls=tuple(ControlUse("lora", name) for name in loras))
