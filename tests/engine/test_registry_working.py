"""What a request needs beside its models is measured, predicted for the next one like it, and kept free for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from studio.engine.registry import Registry
from studio.errors import ModelUnavailable

from .fakes import MODEL_BYTES, FakeLoader, FakeMeter, make, resident, use, wish


def measured(*peaks: int, limit_bytes: int = 3 * MODEL_BYTES) -> Registry:
    """Its requests are seen to take so much, one after another."""
    told = iter(peaks)
    return make(FakeLoader(), limit_bytes, meter=lambda device: FakeMeter(told))


def run(registry: Registry, name: str = "a", **changes: Any) -> None:
    request = replace(wish(name), **changes)
    with registry.lease_for(request) as lease, lease.reserve(request):
        pass


def test_working_memory_is_measured_and_predicted_for_the_next() -> None:
    registry = measured(70, 60)
    run(registry)
    last = registry.snapshot().last
    assert last is not None and (last.predicted_bytes, last.peak_bytes) == (None, 70)
    run(registry, seed=2)
    last = registry.snapshot().last
    assert last is not None and (last.predicted_bytes, last.peak_bytes) == (70, 60)


def test_room_for_a_request_is_made_before_it_runs() -> None:
    registry = measured(120, 120)
    run(registry)
    use(registry, "b", "c")
    request = wish("a")
    with registry.lease_for(request) as lease, lease.reserve(request):
        assert registry.snapshot().reserved_bytes == 120
        assert resident(registry) == {"a"}
        assert registry.snapshot().bytes + 120 <= registry.limit_bytes
    assert registry.snapshot().reserved_bytes == 0


def test_nobody_loads_into_what_is_reserved() -> None:
    registry = measured(150, 150)
    run(registry)
    request = wish("a")
    with registry.lease_for(request) as lease, lease.reserve(request):
        with pytest.raises(ModelUnavailable) as caught:
            use(registry, "b")
    assert caught.value.key == "no_room"
    use(registry, "b")


def test_a_request_for_which_there_never_is_room_gets_what_can_be_had() -> None:
    registry = measured(900, 900)
    run(registry)
    use(registry, "b", "c")
    run(registry)
    assert resident(registry) == {"a"}


def test_what_was_made_of_a_model_in_the_meantime_is_no_working_memory() -> None:
    registry = measured(100)
    request = wish("a")
    with registry.lease_for(request) as lease, lease.reserve(request):
        lease.bill(40)
    last = registry.snapshot().last
    assert last is not None and last.peak_bytes == 60


def test_a_request_that_breaks_off_is_measured_too() -> None:
    registry = measured(70, 60)
    request = wish("a")
    with pytest.raises(ZeroDivisionError), registry.lease_for(request) as lease, lease.reserve(request):
        raise ZeroDivisionError
    last = registry.snapshot().last
    assert last is not None and last.peak_bytes == 70
    assert registry.snapshot().reserved_bytes == 0
