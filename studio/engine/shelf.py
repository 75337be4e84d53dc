"""What is in memory, and who makes room. Each model is made once however many ask, and stays while it is held.

Lock discipline. One condition, `_changed`, guards the entries, all their fields and the counters; it is held for
bookkeeping only, never while a model is made, moved or thrown away. An entry is pinned (leases > 0) from the moment a
thread finds or creates it, so between finding and using nobody can evict it. The thread that creates an entry makes
it, and the thread that finds it parked fetches it; the others wait until it is settled. No thread waits for room: what
does not fit beside the leased is refused. A thread that makes or moves something waits for nobody who leases, so those
who lease several at once cannot lock each other out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from studio.engine.budget import Key, Plan, Resident, Storages, clear, make_room
from studio.engine.entries import Entry, Leaving, State, Wanted, as_told, residents
from studio.engine.loaders import ComponentSet
from studio.engine.memory import Mover, is_out_of_memory
from studio.engine.transit import Transit
from studio.errors import ModelUnavailable, StudioError
from studio.types import AdaptedKey


class Shelf:
    """Models within a byte budget. ram_limit_bytes: what may be parked beside a device with memory of its own."""

    def __init__(self, limit_bytes: int, ram_limit_bytes: int, mover: Mover, clock: Callable[[], float]) -> None:
        self.limit_bytes = limit_bytes
        self.ram_limit_bytes = ram_limit_bytes
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: dict[Key, Entry] = {}
        self._transit = Transit(mover, self._changed, self._entries, self._fail_for_memory)
        self.reserved_bytes = 0
        self.hits = self.misses = self.evictions = 0

    @property
    def moves(self) -> int:
        """How often a model was moved between the device and the machine's memory."""
        return self._transit.moves

    @contextmanager
    def hold(self, wanted: Sequence[Wanted]) -> Iterator[list[tuple[Entry, ComponentSet]]]:
        """Pin models, all together, made or fetched first where need be.

        Room is made for all that are missing before the first is made. Raises ModelUnavailable if one cannot be made
        or they do not fit beside what is leased; who asks next tries again.
        """
        entries, mine, leaving = self._pin(wanted)
        try:
            try:
                self._transit.send_away(leaving)
                self._fill_all(mine)
            finally:  # whatever interrupted it: nobody waits for ever
                for entry, _ in mine:
                    if not entry.is_settled:
                        self._fail(entry, ModelUnavailable("load_failed", model=entry.name, reason="interrupted"))
            yield [(entry, self._ready(entry)) for entry in entries]
        finally:
            self._unpin(entries)

    @contextmanager
    def reserve(self, needed_bytes: int) -> Iterator[None]:
        """Keep room for what is not on the shelf: as much of it as those that nobody leases can make."""
        with self._changed:
            plan = self._plan(needed_bytes) or clear(self._residents(), self.ram_limit_bytes)
            leaving = self._apply(plan)
            self.reserved_bytes += needed_bytes
        try:
            self._transit.send_away(leaving)
            yield
        finally:
            with self._changed:
                self.reserved_bytes -= needed_bytes

    def bill(self, entry: Entry, change_bytes: int) -> None:
        """A leased model grows or shrinks by what was made of it. Raises ModelUnavailable if it does not fit."""
        with self._changed:
            plan = self._plan(change_bytes) if change_bytes > 0 else Plan()
            if plan is None:
                raise self._no_room([entry], change_bytes)
            leaving = self._apply(plan)
            entry.billed_bytes += change_bytes
            entry.measure()
        self._transit.send_away(leaving)

    def relieve(self) -> None:
        """Take everything that nobody leases off the device, after memory has run out."""
        with self._changed:
            leaving = self._apply(clear(self._residents(), self.ram_limit_bytes))
        self._transit.send_away(leaving)
        self._transit.release()

    def forget(self, entry: Entry) -> None:
        """Nobody shall find this model again; who holds it keeps it."""
        with self._changed:
            if self._entries.get(entry.key) is entry:
                del self._entries[entry.key]

    def trim_clones(self, most: int) -> None:
        """Drop the longest unused clones that nobody leases, beyond so many."""
        with self._changed:
            clones = [one for one in self._entries.values() if isinstance(one.key, AdaptedKey)]
            free = sorted((one for one in clones if not one.leases and one.is_settled), key=lambda one: one.last_used)
            leaving = self._apply(Plan(drop=tuple(one.key for one in free[: max(0, len(clones) - most)])))
        self._transit.send_away(leaving)

    def is_ready(self, key: Key) -> bool:
        """Whether it would be held at once."""
        with self._changed:
            entry = self._entries.get(key)
            return entry is not None and entry.state is State.READY

    @contextmanager
    def looked_at(self) -> Iterator[list[Entry]]:
        """The entries, the longest unused first, while nothing changes. For reading, and only for a moment."""
        with self._changed:
            yield sorted(self._entries.values(), key=lambda entry: entry.last_used)

    @contextmanager
    def others(self, key: Key) -> Iterator[list[ComponentSet]]:
        """The models on the device beside this one, pinned."""
        with self._changed:
            entries = [one for one in self._entries.values() if one.key != key and one.state is State.READY]
            for entry in entries:
                entry.leases += 1
        try:
            yield [entry.value for entry in entries if entry.value is not None]
        finally:
            with self._changed:
                for entry in entries:
                    entry.leases -= 1

    def shortage(self, needed_bytes: int) -> dict[str, object]:
        """Need, budget and holders, as the sentences about too little memory name them."""
        with self._changed:
            there = [one for one in self._entries.values() if one.value is not None and not one.parked]
            held = sorted(((sum(one.storages.values()), one.name) for one in there), reverse=True)
        holders = ", ".join(f"{name} {size // 10**6} MB" for size, name in held) or "-"
        return {"needed_mb": -(-needed_bytes // 10**6), "limit_mb": self.limit_bytes // 10**6, "holders": holders}

    def _pin(self, wanted: Sequence[Wanted]) -> tuple[list[Entry], list[tuple[Entry, Wanted]], Leaving]:
        """The entries of `wanted`, one lease more each; those of them that the caller has to make; what goes."""
        pinned: list[Entry] = []
        mine: list[tuple[Entry, Wanted]] = []
        with self._changed:
            for one in wanted:
                entry = self._entries.get(one.key)
                if entry is None:
                    estimate: Storages = {("estimate", one.key): one.estimate_bytes}
                    entry = self._entries[one.key] = Entry(one.key, estimate, self._clock())
                    mine.append((entry, one))
                else:
                    entry.hits += 1
                entry.leases += 1
                entry.last_used = self._clock()
                pinned.append(entry)
            plan = self._plan() if mine else Plan()
            if plan is None:
                for entry, _ in mine:
                    del self._entries[entry.key]
                for entry in pinned:
                    entry.leases -= 1
                raise self._no_room([entry for entry, _ in mine])
            self.misses += len(mine)
            self.hits += len(pinned) - len(mine)
            return pinned, mine, self._apply(plan)

    def _unpin(self, entries: Iterable[Entry]) -> None:
        with self._changed:
            for entry in entries:
                entry.leases -= 1
                entry.last_used = self._clock()

    def _fill_all(self, mine: Sequence[tuple[Entry, Wanted]]) -> None:
        """Make what the caller has to make. One that fails keeps none of the others from whoever waits for them."""
        if mine:
            with self._changed:
                self._changed.wait_for(lambda: not any(one.is_leaving for one in self._entries.values()))
        for entry, wanted in mine:
            self._fill(entry, wanted.make)

    def _fill(self, entry: Entry, make: Callable[[], ComponentSet]) -> None:
        """Make one model and settle its entry, with it or with why there is none."""
        try:
            value = make()
        except Exception as error:
            ran_out = is_out_of_memory(error)
            failure = as_told(error, entry.name)
        else:
            self._settle(entry, value)
            return
        if ran_out:  # here, where the failed call's frames and their tensors are gone
            self.relieve()
            self._fail_for_memory(entry)
        else:
            self._fail(entry, failure)

    def _settle(self, entry: Entry, value: ComponentSet) -> None:
        """Put a model where its estimate was, if there is room for what it was measured to take."""
        with self._changed:
            entry.value = value
            entry.measure()
            plan = self._plan()
            if plan is None:
                self._fail(entry, self._no_room([entry]))
                return
            entry.state = State.READY
            leaving = self._apply(plan)
            self._changed.notify_all()
        self._transit.send_away(leaving)

    def _fail(self, entry: Entry, failure: StudioError) -> None:
        """Tell whoever waits why there is none, and let the next try again."""
        with self._changed:
            entry.failure, entry.value = failure, None
            if self._entries.get(entry.key) is entry:
                del self._entries[entry.key]
            self._changed.notify_all()

    def _fail_for_memory(self, entry: Entry) -> None:
        """The device had less memory than the budget allows for."""
        needed_bytes = sum(entry.storages.values())
        self._fail(entry, ModelUnavailable("no_memory_to_load", model=entry.name, **self.shortage(needed_bytes)))

    def _ready(self, entry: Entry) -> ComponentSet:
        """The model of a pinned entry once it is on the device. Each who waits raises an error of its own."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: entry.is_settled)
                if entry.failure is not None:
                    raise as_told(entry.failure, entry.name)
                if entry.state is State.READY:
                    assert entry.value is not None
                    return entry.value
                entry.parked = False
                plan = self._plan()
                if plan is None:
                    entry.parked = True
                    raise self._no_room([entry])
                entry.state = State.MOVING
                leaving = self._apply(plan)
            self._transit.send_away(leaving)
            self._transit.fetch(entry)

    def _residents(self) -> list[Resident]:
        """The entries as the policy sees them. With the lock held."""
        return residents(self._entries.values(), parks=self.ram_limit_bytes > 0)

    def _plan(self, needed_bytes: int = 0) -> Plan | None:
        """How the entries, what is reserved and `needed_bytes` more come within the budget. With the lock held."""
        return make_room(self._residents(), self.reserved_bytes + needed_bytes, self.limit_bytes, self.ram_limit_bytes)

    def _apply(self, plan: Plan) -> Leaving:
        """Mark what goes, so that nobody takes it for being there. With the lock held."""
        parking = [self._entries[key] for key in plan.park]
        for entry in parking:
            entry.state, entry.parked = State.MOVING, True
        self.evictions += len(plan.drop)
        return Leaving([self._entries.pop(key) for key in plan.drop], parking)

    def _no_room(self, entries: Sequence[Entry], needed_bytes: int | None = None) -> ModelUnavailable:
        """What to tell who asks for more than fits beside what is leased."""
        if needed_bytes is None:
            needed_bytes = sum(sum(entry.storages.values()) for entry in entries)
        return ModelUnavailable(
            "no_room",
            model=", ".join(dict.fromkeys(entry.name for entry in entries)),
            needed_mb=-(-needed_bytes // 10**6),
            limit_mb=self.limit_bytes // 10**6,
        )
