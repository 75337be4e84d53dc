"""Which resident models make room for others. Pure.

Bytes are counted by storage: what several models hold together counts once, and dropping one of them frees only what
nobody else holds. On a graphics card models are parked in the machine's memory before they are dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from studio.types import AdaptedKey, PipelineKey

Key = PipelineKey | AdaptedKey
Storages = Mapping[Hashable, int]
"""Bytes by the identity of the storage that holds them."""


@dataclass(frozen=True)
class Resident:
    """One model in memory. last_used: the clock's reading when it was last leased or given back.

    parked: in the machine's memory, not on the device; parkable: whether it may be parked rather than dropped.
    """

    key: Key
    storages: Storages
    leased: bool
    last_used: float
    parked: bool = False
    parkable: bool = False


@dataclass(frozen=True)
class Plan:
    """What to do to make room, the longest unused first."""

    park: tuple[Key, ...] = field(default=())
    drop: tuple[Key, ...] = field(default=())


def held_bytes(resident: Iterable[Resident]) -> int:
    """What models take together, each storage counted once."""
    union: dict[Hashable, int] = {}
    for one in resident:
        union.update(one.storages)
    return sum(union.values())


def parked_bytes(resident: Collection[Resident]) -> int:
    """What the parked ones take beside the device: not what one that is there shares with them."""
    union: dict[Hashable, int] = {}
    for one in resident:
        if one.parked:
            union.update(one.storages)
    on_device = {storage for one in resident if not one.parked for storage in one.storages}
    return sum(size for storage, size in union.items() if storage not in on_device)


def make_room(
    resident: Collection[Resident], needed_bytes: int, limit_bytes: int, ram_limit_bytes: int = 0
) -> Plan | None:
    """What has to leave the device so that `needed_bytes` more fit, and what has to leave memory for that.

    The longest unused go first, no more than necessary, and none whose going would free nothing. What is leased
    stays. None when even all the others together would not be enough.
    """
    kept = [one for one in resident if not one.parked]
    leaving: list[Resident] = []
    for one in _longest_unused_first(one for one in kept if not one.leased):
        if held_bytes(kept) + needed_bytes <= limit_bytes:
            break
        kept.remove(one)
        leaving.append(one)
    if held_bytes(kept) + needed_bytes > limit_bytes:
        return None
    return _plan(resident, _that_free_something(leaving, kept), ram_limit_bytes)


def clear(resident: Collection[Resident], ram_limit_bytes: int = 0) -> Plan:
    """Everything that nobody leases leaves the device."""
    leaving = list(_longest_unused_first(one for one in resident if not one.leased and not one.parked))
    return _plan(resident, leaving, ram_limit_bytes)


def _plan(resident: Collection[Resident], leaving: Collection[Resident], ram_limit_bytes: int) -> Plan:
    """Park what may be parked of those that leave the device, as far as the machine's memory reaches."""
    dropped = [one for one in leaving if not one.parkable]
    moved = {one.key for one in leaving if one.parkable}
    after = [
        Resident(one.key, one.storages, one.leased, one.last_used, one.parked or one.key in moved, one.parkable)
        for one in resident
        if one not in dropped
    ]
    for one in _longest_unused_first(one for one in after if one.parked and not one.leased):
        if parked_bytes(after) <= ram_limit_bytes:
            break
        after.remove(one)
        dropped.append(one)
    gone = tuple(one.key for one in dropped)
    return Plan(park=tuple(one.key for one in leaving if one.key not in gone), drop=gone)


def _longest_unused_first(resident: Iterable[Resident]) -> list[Resident]:
    """By last use; a clone before the model that it was made of."""
    return sorted(resident, key=lambda one: (one.last_used, isinstance(one.key, PipelineKey)))


def _that_free_something(leaving: Collection[Resident], kept: Collection[Resident]) -> list[Resident]:
    """Those of which something is held by none that is kept."""
    stays = {storage for one in kept for storage in one.storages}
    return [one for one in leaving if one.storages.keys() - stays]
