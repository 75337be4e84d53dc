"""What takes how much: parking beside a graphics card, shared parts, working memory, and memory that runs out."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from studio.engine.entries import State
from studio.engine.loaders import ComponentSet
from studio.engine.registry import Registry
from studio.errors import ModelUnavailable
from studio.types import ModelSpec, PipelineKey

from .fakes import MODEL_BYTES, FakeLoader, FakeMeter, FakeMover, make, resident, use, weights, wish


def states(registry: Registry) -> dict[str, State]:
    return {one.base_id: one.state for one in registry.snapshot().resident}


def beside_a_card(loader: FakeLoader, mover: FakeMover, ram_limit_bytes: int = 2 * MODEL_BYTES) -> Registry:
    """Room for two models on the card, and for some more in the machine's memory."""
    return make(loader, mover=mover, ram_limit_bytes=ram_limit_bytes)


def test_beside_a_card_the_longest_unused_is_parked_and_not_loaded_again() -> None:
    registry = beside_a_card(loader := FakeLoader(), mover := FakeMover())
    for name in ("a", "b", "c"):
        use(registry, name)
    assert states(registry) == {"a": State.PARKED, "b": State.READY, "c": State.READY}
    assert not registry.is_resident(registry.key("a"))
    use(registry, "a")
    assert states(registry) == {"b": State.PARKED, "c": State.READY, "a": State.READY}
    assert loader.loaded == ["a", "b", "c"]
    assert (len(mover.parked), len(mover.fetched), registry.snapshot().moves) == (2, 1, 3)


def test_bytes_are_told_by_where_they_are() -> None:
    registry = beside_a_card(FakeLoader(), FakeMover())
    for name in ("a", "b", "c"):
        use(registry, name)
    snapshot = registry.snapshot()
    assert (snapshot.bytes, snapshot.parked_bytes) == (2 * MODEL_BYTES, MODEL_BYTES)
    assert (snapshot.limit_bytes, snapshot.ram_limit_bytes) == (2 * MODEL_BYTES, 2 * MODEL_BYTES)


def test_of_the_parked_the_longest_unused_is_dropped() -> None:
    registry = beside_a_card(loader := FakeLoader(), FakeMover(), ram_limit_bytes=MODEL_BYTES)
    for name in ("a", "b", "c", "d"):
        use(registry, name)
    assert states(registry) == {"b": State.PARKED, "c": State.READY, "d": State.READY}
    assert loader.alive == 3


def test_many_who_ask_for_a_parked_model_fetch_it_once() -> None:
    registry = beside_a_card(FakeLoader(), mover := FakeMover())
    for name in ("a", "b", "c"):
        use(registry, name)
    gate = threading.Barrier(20)

    def ask(_: int) -> bool:
        gate.wait()
        with registry.lease(registry.key("a")) as lease:
            return bool(lease.components.components["unet"].weight.is_meta)

    with ThreadPoolExecutor(20) as pool:
        assert not any(pool.map(ask, range(20)))
    assert len(mover.fetched) == 1


def test_a_parked_model_that_does_not_fit_beside_the_leased_stays_parked() -> None:
    registry = beside_a_card(FakeLoader(), FakeMover())
    for name in ("a", "b", "c"):
        use(registry, name)
    with registry.lease_all([registry.key("b"), registry.key("c")]):
        with pytest.raises(ModelUnavailable) as caught:
            use(registry, "a")
    assert caught.value.key == "no_room"
    assert states(registry)["a"] is State.PARKED
    use(registry, "a")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_move_that_fails_is_told_and_the_next_lease_loads_anew(error: Exception) -> None:
    registry = beside_a_card(loader := FakeLoader(), mover := FakeMover())
    for name in ("a", "b", "c"):
        use(registry, name)
    mover.fail = error
    with pytest.raises(ModelUnavailable) as caught:
        use(registry, "a")
    assert caught.value.key == "no_memory_to_load"
    mover.fail = None
    use(registry, "a")
    assert loader.loaded.count("a") == 2
    assert all(one.leases == 0 for one in registry.snapshot().resident)


def test_nothing_is_loaded_into_what_is_still_on_its_way_out() -> None:
    mover, going, go_on = FakeMover(), threading.Event(), threading.Event()
    park = mover.park

    def slowly(modules: Any) -> None:
        going.set()
        assert go_on.wait(10)
        park(modules)

    mover.park = slowly  # type: ignore[method-assign]
    registry = beside_a_card(loader := FakeLoader(), mover, ram_limit_bytes=MODEL_BYTES)
    use(registry, "a", "b")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(use, registry, "c")
        assert going.wait(10)
        second = pool.submit(use, registry, "c", "d")
        threading.Event().wait(0.05)
        assert states(registry)["a"] is State.MOVING
        assert loader.loaded == ["a", "b"]
        go_on.set()
        for one in (first, second):
            one.result(10)
    assert resident(registry) >= {"c", "d"}
    assert registry.snapshot().bytes <= registry.limit_bytes


def test_on_a_cpu_nothing_is_parked() -> None:
    registry = make(FakeLoader(), mover=(mover := FakeMover()))
    for name in ("a", "b", "c"):
        use(registry, name)
    assert (mover.parked, resident(registry)) == ([], {"b", "c"})


class SharingLoader(FakeLoader):
    """Its models have a UNet each, and all the same autoencoder."""

    def __call__(self, spec: ModelSpec, key: PipelineKey) -> ComponentSet:
        loaded = super().__call__(spec, key)
        parts = {**loaded.components, "vae": weights(40)}
        return replace(loaded, components=parts, bytes=loaded.bytes + 40)


def test_a_part_that_two_models_have_alike_is_held_and_counted_once() -> None:
    registry = make(SharingLoader(), limit_bytes=1_000)
    with registry.lease_all([registry.key("a"), registry.key("b")]) as (a, b):
        assert a.components.components["vae"] is b.components.components["vae"]
        assert a.components.components["unet"] is not b.components.components["unet"]
    snapshot = registry.snapshot()
    assert snapshot.bytes == 2 * MODEL_BYTES + 40
    assert [(one.bytes, one.own_bytes) for one in snapshot.resident] == [(MODEL_BYTES + 40, MODEL_BYTES)] * 2


def test_models_with_other_settings_share_nothing() -> None:
    class Scaled(SharingLoader):
        def __call__(self, spec: ModelSpec, key: PipelineKey) -> ComponentSet:
            loaded = super().__call__(spec, key)
            loaded.components["vae"].config = {"scaling_factor": len(self.loaded), "_name_or_path": spec.id}
            return loaded

    registry = make(Scaled(), limit_bytes=1_000)
    use(registry, "a", "b")
    assert registry.snapshot().bytes == 2 * (MODEL_BYTES + 40)


def test_a_shared_part_stays_on_the_card_until_the_last_who_has_it_leaves() -> None:
    registry = make(SharingLoader(), limit_bytes=350, mover=(mover := FakeMover()), ram_limit_bytes=1_000)
    for name in ("a", "b", "c"):
        use(registry, name)
    with registry.lease(registry.key("d")) as d:
        assert states(registry) == {"a": State.PARKED, "b": State.READY, "c": State.READY, "d": State.READY}
        assert not d.components.components["vae"].weight.is_meta
        assert (registry.snapshot().bytes, registry.snapshot().parked_bytes) == (340, 100)
    registry.out_of_memory()
    assert set(states(registry).values()) == {State.PARKED}
    assert (registry.snapshot().bytes, registry.snapshot().parked_bytes) == (0, 440)
    with registry.lease(registry.key("a")) as a:
        assert not any(module.weight.is_meta for module in a.components.components.values())
        assert registry.snapshot().bytes == 140
    assert len(set(mover.parked)) == 5


def test_what_was_made_of_a_model_is_billed_and_makes_room() -> None:
    registry = make(FakeLoader(), limit_bytes=3 * MODEL_BYTES)
    use(registry, "a", "b")
    with registry.lease(registry.key("c")) as lease:
        lease.bill(50)
        assert resident(registry) == {"b", "c"}
        assert registry.snapshot().bytes == 2 * MODEL_BYTES + 50
        with pytest.raises(ModelUnavailable):
            lease.bill(3 * MODEL_BYTES)
        lease.bill(-50)
        assert registry.snapshot().resident[-1].bytes == MODEL_BYTES


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_memory_that_runs_out_in_a_load_is_told_with_need_budget_and_holders(error: Exception) -> None:
    loader = FakeLoader()
    registry = make(loader, limit_bytes=10 * MODEL_BYTES, mover=(mover := FakeMover()))
    use(registry, "a", "b")
    loader.before = lambda: (_ for _ in ()).throw(error)
    with registry.lease(registry.key("a")), pytest.raises(ModelUnavailable) as caught:
        use(registry, "c")
    values = caught.value.values
    assert (caught.value.key, values["model"], values["holders"]) == ("no_memory_to_load", "c", "a 0 MB")
    assert {"needed_mb", "limit_mb"} <= values.keys()
    assert mover.released == 1
    loader.before = lambda: None
    use(registry, "c")
    assert resident(registry) == {"a", "c"}


def test_memory_that_runs_out_is_told_in_megabytes_and_frees_what_nobody_leases() -> None:
    loader = FakeLoader(size=60_000_000)
    registry = make(loader, limit_bytes=200_000_000, meter=lambda device: FakeMeter(iter([30_000_000])))
    use(registry, "a", "b")
    request = wish("c")
    with registry.lease_for(request) as lease:
        with pytest.raises(MemoryError), lease.reserve(request):
            raise MemoryError
        error = registry.out_of_memory()
    assert error.values == {
        "device": "cpu",
        "needed_mb": 90,
        "limit_mb": 200,
        "holders": "c 60 MB, b 60 MB, a 60 MB",
    }
    assert all(word in str(error) for word in ("cpu", "90 MB", "200 MB", "a 60 MB"))
    assert resident(registry) == {"c"}
    assert loader.alive == 1
