"""Many at once, and anything in any order: nobody's model goes, nothing is loaded twice, nothing is left over."""

from __future__ import annotations

import gc
import logging
import random
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from studio.engine.memory import storages
from studio.engine.registry import Lease, Registry
from studio.errors import ModelUnavailable, StudioError

from .fakes import LORA_BYTES, LORAS, MODEL_BYTES, NAMES, FakeLoader, FakeMeter, FakeMover, make, wish

LIMIT_BYTES = 3 * MODEL_BYTES
names = st.sampled_from(NAMES)


class Leases(RuleBasedStateMachine):
    """One person who leases, gives back, fails and runs out of memory in any order, beside a graphics card or not."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.ERROR)  # pytest keeps what is logged, and with an error its frames
        self.loader = FakeLoader()
        self.mover = FakeMover()
        peaks = iter(lambda: 80, None)
        self.registry = make(
            self.loader, LIMIT_BYTES, mover=self.mover, ram_limit_bytes=250, meter=lambda device: FakeMeter(peaks)
        )
        self.open: list[tuple[ExitStack, list[Lease], list[Any]]] = []
        self.loads: dict[str, int] = {}

    def enter(self, give: Any) -> None:
        """Enter a lease; a refusal must be one of the known ones, and leave nothing pinned."""
        stack, pinned = ExitStack(), [one.leases for one in self.registry.snapshot().resident]
        known = {one.key: one.leases for one in self.registry.snapshot().resident}
        try:
            given = stack.enter_context(give)
        except StudioError as error:
            assert error.key in ("no_room", "load_failed", "no_memory_to_load"), error.key
            assert len(pinned) == len(known)
            after = {one.key: one.leases for one in self.registry.snapshot().resident}
            assert all(known.get(key, 0) == count for key, count in after.items())
            return
        leases = given if isinstance(given, list) else [given]
        self.open.append((stack, leases, [lease.components for lease in leases]))

    @rule(wanted=st.lists(names, min_size=1, max_size=3))
    def lease(self, wanted: list[str]) -> None:
        self.enter(self.registry.lease_all([self.registry.key(name) for name in wanted]))

    @rule(name=names, loras=st.sets(st.sampled_from(LORAS), max_size=2))
    def lease_with_adapters(self, name: str, loras: set[str]) -> None:
        self.enter(self.registry.lease_for(wish(name, *sorted(loras))))

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.open:
            stack, _, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            stack.close()

    @rule(name=names)
    def a_load_fails(self, name: str) -> None:
        self.loader.before = lambda: (_ for _ in ()).throw(OSError("disk"))
        self.enter(self.registry.lease(self.registry.key(name)))
        self.loader.before = lambda: None

    @rule(name=names)
    def a_move_fails(self, name: str) -> None:
        self.mover.fail = MemoryError()
        self.enter(self.registry.lease(self.registry.key(name)))
        self.mover.fail = None

    @rule()
    def memory_runs_out(self) -> None:
        self.registry.out_of_memory()
        on_device = {one.key for one in self.registry.snapshot().resident if not one.parked}
        assert on_device == {one.key for one in self.registry.snapshot().resident if one.leases}

    @rule(name=names)
    def a_request_runs(self, name: str) -> None:
        request = wish(name)
        try:
            with self.registry.lease_for(request) as lease, lease.reserve(request):
                pass
        except ModelUnavailable:
            pass

    @invariant()
    def the_budgets_hold(self) -> None:
        snapshot = self.registry.snapshot()
        assert snapshot.bytes <= LIMIT_BYTES
        assert snapshot.parked_bytes <= 250
        assert snapshot.reserved_bytes == 0

    @invariant()
    def what_is_leased_is_there_and_the_same(self) -> None:
        resident = {one.key: one for one in self.registry.snapshot().resident}
        for _, leases, sets in self.open:
            for lease, components in zip(leases, sets, strict=True):
                assert lease.components is components
                assert resident[lease.key].leases > 0 and not resident[lease.key].parked
                assert not components.components["unet"].weight.is_meta

    @invariant()
    def nothing_outlives_its_place(self) -> None:
        models = [one for one in self.registry.snapshot().resident if not one.adapters]
        assert self.loader.alive == len(models)

    @invariant()
    def the_books_say_where_everything_is(self) -> None:
        with self.registry._shelf.looked_at() as entries:
            for entry in entries:
                assert entry.value is not None
                assert storages(entry.value.components.values()).items() <= entry.storages.items()
                on_device = {device for device, _ in storages(entry.value.components.values())}  # type: ignore[misc]
                assert on_device == {"meta" if entry.parked else "cpu"}

    def teardown(self) -> None:
        for stack, _, _ in self.open:
            stack.close()
        logging.disable(logging.NOTSET)
        assert all(one.leases == 0 for one in self.registry.snapshot().resident)


Leases.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAnythingInAnyOrder = Leases.TestCase


def visit(registry: Registry, choice: random.Random, wrong: list[str]) -> None:
    """Lease something, look whether it is there, and give it back."""
    wanted = choice.sample(NAMES, choice.choice((1, 1, 1, 2)))
    loras = choice.sample(LORAS, choice.choice((0, 0, 1, 2)))
    keys = [registry.key(name) for name in wanted]
    try:
        with registry.lease_for(wish(wanted[0], *loras)) if loras else registry.lease_all(keys) as given:
            leases = given if isinstance(given, list) else [given]
            resident = {one.key: one for one in registry.snapshot().resident}
            for lease in leases:
                if lease.key not in resident or lease.components.components["unet"].weight.is_meta:
                    wrong.append("evicted while leased")
            if registry.snapshot().bytes > registry.limit_bytes:
                wrong.append("over budget")
    except ModelUnavailable as error:
        if error.key not in ("no_room", "load_failed"):
            wrong.append(error.key)


def test_fifty_threads_lose_no_lease_and_load_nothing_twice_at_once() -> None:
    failures = random.Random(0)

    def sometimes_fail() -> None:
        threading.Event().wait(0.0005)
        if failures.random() < 0.05:
            raise OSError("disk")

    loader = FakeLoader(sometimes_fail)
    registry = make(loader, 3 * MODEL_BYTES, mover=FakeMover(), ram_limit_bytes=2 * MODEL_BYTES)
    wrong: list[str] = []

    def person(seed: int) -> None:
        choice = random.Random(seed)
        for _ in range(20):
            visit(registry, choice, wrong)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(person, range(50)))
    snapshot = registry.snapshot()
    assert not wrong
    assert loader.most_at_once == 1
    assert all(one.leases == 0 for one in snapshot.resident)
    assert snapshot.evictions > 0 and snapshot.moves > 0


def test_a_thousand_mixed_requests_leave_memory_flat() -> None:
    choice, peaks = random.Random(1), iter(lambda: 30, None)

    def sometimes_fail() -> None:
        if choice.random() < 0.05:
            raise ModelUnavailable("load_failed", model="a", reason="disk")  # no error that the log would keep

    loader = FakeLoader(sometimes_fail)
    registry = make(loader, 3 * MODEL_BYTES, mover=FakeMover(), meter=lambda device: FakeMeter(peaks))
    wrong: list[str] = []

    def requests(count: int) -> int:
        for number in range(count):
            visit(registry, choice, wrong)
            request = wish(choice.choice(NAMES), *choice.sample(LORAS, choice.choice((0, 1))))
            try:
                with registry.lease_for(request) as lease, lease.reserve(request):
                    if number % 20 == 0:
                        raise MemoryError
            except ModelUnavailable:
                pass
            except MemoryError:
                registry.out_of_memory()
        loader.loaded.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        after_some = requests(50)
        after_all = requests(475)  # two requests each
    finally:
        tracemalloc.stop()
    assert not wrong
    assert loader.alive <= 3 + 2 * len(LORAS)
    assert after_all - after_some < 50_000
    assert registry.snapshot().bytes <= 3 * MODEL_BYTES + LORA_BYTES * len(LORAS)
