"""What the history remembers of one generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from studio.events import Timings


class State(StrEnum):
    """Where a generation stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    """Its owner cancelled it."""
    CUT = "cut"
    """The studio ended before it did."""


UNFINISHED = (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class Picture:
    """One picture of a generation. marks: what the eye found, as mappings; None where it has not looked."""

    path: Path
    thumbnail: Path
    marks: tuple[Mapping[str, Any], ...] | None


@dataclass(frozen=True)
class Record:
    """One generation. request: its fields by name, without pictures; error: a key of assets/i18n, or empty."""

    id: str
    number: int
    owner: str
    created_seconds: float
    state: State
    request: Mapping[str, Any]
    pictures: tuple[Picture, ...]
    timings: Timings
    peak_bytes: int
    model_sha256: str
    notes: tuple[str, ...]
    error: str
