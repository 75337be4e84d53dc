"""Which resident models make room for another one. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from studio.types import PipelineKey


@dataclass(frozen=True)
class Resident:
    """One set in memory. last_used: the clock's reading when it was last leased or given back."""

    key: PipelineKey
    bytes: int
    leased: bool
    last_used: float


def choose_evictions(resident: Collection[Resident], needed_bytes: int, limit_bytes: int) -> list[PipelineKey] | None:
    """The keys to drop so that `needed_bytes` more fit: the longest unused first, no more than necessary.

    What is leased is never chosen. None when even dropping all the others would not be enough.
    """
    excess_bytes = sum(one.bytes for one in resident) + needed_bytes - limit_bytes
    chosen: list[PipelineKey] = []
    for one in sorted((one for one in resident if not one.leased), key=lambda one: one.last_used):
        if excess_bytes <= 0:
            break
        chosen.append(one.key)
        excess_bytes -= one.bytes
    return chosen if excess_bytes <= 0 else None
