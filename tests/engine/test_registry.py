from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.engine.loaders import ComponentSet
from studio.engine.registry import Lease, Registry
from studio.errors import InvalidInput, ModelUnavailable
from studio.types import Family, ModelSpec, PipelineKey, Source, Task

MODEL_BYTES = 100
NAMES = ("a", "b", "c", "d")
FAMILY = Family(
    "fake",
    tuple(ModelSpec(name, "base", "fake", (Source("local", name),), bytes_estimate=MODEL_BYTES) for name in NAMES),
    {Task.TEXT_TO_IMAGE: "StableDiffusionPipeline"},
)


class FakeLoader:
    """Loads nothing, counts how often, and does what `before` says first."""

    def __init__(self, before: Callable[[], None] = lambda: None, size: int = MODEL_BYTES) -> None:
        self.before = before
        self.size = size
        self.loaded: list[str] = []

    def __call__(self, spec: ModelSpec, key: PipelineKey) -> ComponentSet:
        self.loaded.append(spec.id)
        self.before()
        return ComponentSet({}, spec, spec.sources[0], self.size, "", None, load_seconds=0.5)


def make(loader: FakeLoader, limit_bytes: int = 2 * MODEL_BYTES) -> Registry:
    ticks = iter(range(10**9))
    return Registry((FAMILY,), loader, limit_bytes, clock=lambda: float(next(ticks)))


def use(registry: Registry, name: str) -> None:
    with registry.lease(registry.key(name)):
        pass


def resident(registry: Registry) -> set[str]:
    return {one.key.base_id for one in registry.snapshot().resident}


def test_a_second_lease_finds_the_same_set() -> None:
    registry = make(FakeLoader())
    with registry.lease(registry.key("a")) as first, registry.lease(registry.key("a")) as second:
        assert first.components is second.components
    assert (registry.snapshot().misses, registry.snapshot().hits) == (1, 1)


def test_fifty_simultaneous_asks_load_once() -> None:
    registry, gate = make(loader := FakeLoader()), threading.Barrier(50)

    def ask(_: int) -> Lease:
        gate.wait()
        with registry.lease(registry.key("a")) as lease:
            return lease

    with ThreadPoolExecutor(50) as pool:
        leases = list(pool.map(ask, range(50)))
    assert loader.loaded == ["a"]
    assert len({id(lease.components) for lease in leases}) == 1


def test_a_failed_load_is_told_to_everybody_who_waits() -> None:
    everybody_waits = threading.Event()

    def fail() -> None:
        everybody_waits.wait(10)
        raise OSError("disk")

    registry = make(loader := FakeLoader(fail))

    def ask(_: int) -> str:
        with pytest.raises(ModelUnavailable) as caught, registry.lease(registry.key("a")):
            pass
        return caught.value.key

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, n) for n in range(8)]
        while not registry.snapshot().resident or registry.snapshot().resident[0].leases < 8:
            time.sleep(0.001)
        everybody_waits.set()
        assert {answer.result() for answer in answers} == {"load_failed"}
    assert loader.loaded == ["a"]


def test_a_failed_load_can_be_tried_again() -> None:
    loader = FakeLoader()
    registry = make(loader)
    loader.before = lambda: (_ for _ in ()).throw(ModelUnavailable("model_missing", model="a", missing="unet"))
    with pytest.raises(ModelUnavailable, match="unet"):
        use(registry, "a")
    assert resident(registry) == set()
    loader.before = lambda: None
    use(registry, "a")
    assert resident(registry) == {"a"}


def test_an_interrupted_load_leaves_nobody_waiting() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    loader = FakeLoader(interrupt)
    registry = make(loader)
    with pytest.raises(KeyboardInterrupt):
        use(registry, "a")
    loader.before = lambda: None
    use(registry, "a")


def test_the_least_recently_used_makes_room() -> None:
    registry = make(FakeLoader())
    for name in ("a", "b", "a", "c"):
        use(registry, name)
    assert resident(registry) == {"a", "c"}
    assert registry.snapshot().evictions == 1


def test_what_is_leased_is_never_evicted() -> None:
    registry = make(FakeLoader())
    with registry.lease(registry.key("a")):
        for name in ("b", "c", "d"):
            use(registry, name)
        assert "a" in resident(registry)


def test_no_room_beside_the_leased_is_said() -> None:
    registry = make(FakeLoader(), limit_bytes=MODEL_BYTES)
    with registry.lease(registry.key("a")), pytest.raises(ModelUnavailable) as caught:
        use(registry, "b")
    assert caught.value.key == "no_room"


def test_a_set_larger_than_its_estimate_evicts_or_is_refused() -> None:
    registry = make(loader := FakeLoader())
    use(registry, "a")
    loader.size = 2 * MODEL_BYTES
    use(registry, "b")
    assert resident(registry) == {"b"}
    loader.size = 3 * MODEL_BYTES
    with pytest.raises(ModelUnavailable):
        use(registry, "c")
    assert registry.snapshot().bytes <= registry.limit_bytes


def test_an_error_inside_the_lease_gives_it_back() -> None:
    registry = make(FakeLoader())
    with pytest.raises(ZeroDivisionError), registry.lease(registry.key("a")):
        raise ZeroDivisionError
    assert [one.leases for one in registry.snapshot().resident] == [0]


def test_the_snapshot_tells_what_a_load_took() -> None:
    registry = make(FakeLoader())
    use(registry, "a")
    (one,) = registry.snapshot().resident
    assert (one.bytes, one.load_seconds, one.loading) == (MODEL_BYTES, 0.5, False)


@pytest.mark.parametrize(("base_id", "quant_id", "field"), [("x", "none", "base_id"), ("a", "int1", "quant_id")])
def test_an_unknown_name_is_refused_by_its_field(base_id: str, quant_id: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make(FakeLoader()).key(base_id, quant_id)
    assert caught.value.values["field"] == field


def test_many_threads_never_exceed_the_budget_or_lose_a_lease() -> None:
    registry = make(FakeLoader(), limit_bytes=2 * MODEL_BYTES)
    wrong: list[str] = []

    def visit(seed: int) -> None:
        choice = random.Random(seed)
        for _ in range(40):
            name = choice.choice(NAMES)
            try:
                with registry.lease(registry.key(name)):
                    snapshot = registry.snapshot()
                    if snapshot.bytes > registry.limit_bytes:
                        wrong.append("over budget")
                    if name not in {one.key.base_id for one in snapshot.resident}:
                        wrong.append("evicted while leased")
            except ModelUnavailable as error:
                if error.key != "no_room":
                    wrong.append(error.key)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(visit, range(16)))
    assert not wrong
    assert all(one.leases == 0 for one in registry.snapshot().resident)
