from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.engine.entries import State
from studio.engine.registry import Lease
from studio.errors import InvalidInput, ModelUnavailable

from .fakes import MODEL_BYTES, FakeLoader, make, resident, use


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
        use(registry, "a", "b")
    assert registry.snapshot().resident == ()
    loader.before = lambda: None
    use(registry, "b", "a")


def test_the_least_recently_used_makes_room() -> None:
    registry = make(FakeLoader())
    for name in ("a", "b", "a", "c"):
        use(registry, name)
    assert resident(registry) == {"a", "c"}
    assert registry.snapshot().evictions == 1


def test_what_is_evicted_is_freed_without_a_garbage_collection() -> None:
    registry = make(loader := FakeLoader(), mover=_NoMover())
    for name in ("a", "b", "c", "d"):
        use(registry, name)
    assert loader.alive == 2


class _NoMover:
    """A device that has nothing to move and collects no garbage."""

    def park(self, modules: object) -> None:
        pytest.fail("nothing is parked on a CPU")

    fetch = park

    def release(self) -> None:
        pass


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
    assert loader.alive <= 1


def test_an_error_inside_the_lease_gives_it_back() -> None:
    registry = make(FakeLoader())
    with pytest.raises(ZeroDivisionError), registry.lease(registry.key("a")):
        raise ZeroDivisionError
    assert [one.leases for one in registry.snapshot().resident] == [0]


def test_the_snapshot_tells_what_a_load_took() -> None:
    registry = make(FakeLoader())
    use(registry, "a")
    use(registry, "a")
    (one,) = registry.snapshot().resident
    assert (one.bytes, one.own_bytes, one.load_seconds, one.loading) == (MODEL_BYTES, MODEL_BYTES, 0.5, False)
    assert (one.state, one.hits, one.leases, one.name) == (State.READY, 1, 0, "a")


def test_reading_the_snapshot_changes_nothing() -> None:
    registry = make(FakeLoader())
    use(registry, "a", "b")
    assert [registry.snapshot() for _ in range(3)] == [registry.snapshot()] * 3
    use(registry, "c")
    assert resident(registry) == {"b", "c"}


@pytest.mark.parametrize(("base_id", "quant_id", "field"), [("?", "none", "base_id"), ("a", "int1", "quant_id")])
def test_an_unknown_name_is_refused_by_its_field(base_id: str, quant_id: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make(FakeLoader()).key(base_id, quant_id)
    assert caught.value.values["field"] == field


def test_several_are_leased_together_and_given_back_together() -> None:
    registry = make(FakeLoader())
    with registry.lease_all([registry.key("a"), registry.key("b")]) as (a, b):
        assert (a.spec.id, b.spec.id) == ("a", "b")
        assert [one.leases for one in registry.snapshot().resident] == [1, 1]
    assert [one.leases for one in registry.snapshot().resident] == [0, 0]


def test_room_for_all_is_made_before_the_first_is_loaded() -> None:
    registry = make(loader := FakeLoader())
    use(registry, "a")
    with pytest.raises(ModelUnavailable) as caught:
        use(registry, "b", "c", "d")
    assert (caught.value.key, caught.value.values["model"]) == ("no_room", "b, c, d")
    assert loader.loaded == ["a"]
    assert resident(registry) == {"a"}


def test_one_that_fails_leaves_the_others_to_those_who_wait_for_them() -> None:
    loader = FakeLoader()
    registry = make(loader, limit_bytes=4 * MODEL_BYTES)

    def fail_once() -> None:
        if loader.loaded[-1] == "a":
            raise OSError("disk")

    loader.before = fail_once
    with pytest.raises(ModelUnavailable, match="a could not be loaded"):
        use(registry, "a", "b")
    assert resident(registry) == {"b"}
    assert [one.leases for one in registry.snapshot().resident] == [0]


def test_those_who_lease_the_same_in_another_order_do_not_lock_each_other_out() -> None:
    both_load = threading.Barrier(2, timeout=10)
    registry = make(FakeLoader(both_load.wait), limit_bytes=4 * MODEL_BYTES)
    orders = (("a", "b"), ("b", "a"))

    def lease(names: tuple[str, str]) -> None:
        use(registry, *names)

    with ThreadPoolExecutor(2) as pool:
        # Each begins with another one and waits in the middle of it until the other has begun as well.
        first = pool.submit(use, registry, "a")
        second = pool.submit(use, registry, "b")
        waiting = [pool.submit(lease, names) for names in orders]
        for one in (first, second, *waiting):
            one.result(timeout=10)
    assert resident(registry) == {"a", "b"}


def test_a_model_of_ones_own_can_be_admitted() -> None:
    from .fakes import spec

    registry = make(FakeLoader())
    registry.admit(spec("mine", "lora"))
    with registry.lease(registry.key("mine", field="controls")) as lease:
        assert lease.spec.id == "mine"
