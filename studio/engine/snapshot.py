"""What the registry holds and has done, as seen at one moment: what a page may show. Reading it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from studio.engine.budget import Key
from studio.engine.entries import State
from studio.engine.working import RequestShape
from studio.types import PipelineKey


@dataclass(frozen=True)
class ResidentSnapshot:
    """One model in memory. bytes: all that it holds, an estimate while it loads; own_bytes: what of it no other holds.

    hits: how often it was found here; load_seconds: what making it took.
    """

    key: Key
    name: str
    bytes: int
    own_bytes: int
    leases: int
    state: State
    hits: int
    load_seconds: float

    @property
    def base_id(self) -> str:
        """The model that it is, or that it is a clone of."""
        return self.key.base_id if isinstance(self.key, PipelineKey) else self.key.pipeline.base_id

    @property
    def loading(self) -> bool:
        return self.state is State.LOADING

    @property
    def parked(self) -> bool:
        return self.state is State.PARKED

    @property
    def adapters(self) -> int:
        """How many adapters it carries: more than none for a clone."""
        return 0 if isinstance(self.key, PipelineKey) else len(self.key.adapters)


@dataclass(frozen=True)
class WorkingSnapshot:
    """The working memory of the last request, over what was resident. predicted_bytes: None if nothing was known."""

    shape: RequestShape
    predicted_bytes: int | None
    peak_bytes: int


@dataclass(frozen=True)
class RegistrySnapshot:
    """resident: the longest unused first. bytes: what they take on the device, each storage counted once.

    parked_bytes: what takes the machine's memory beside a graphics card; reserved_bytes: what running requests are
    predicted to need; moves: between the device and the machine's memory.
    """

    resident: tuple[ResidentSnapshot, ...]
    device: str
    bytes: int
    limit_bytes: int
    parked_bytes: int
    ram_limit_bytes: int
    reserved_bytes: int
    hits: int
    misses: int
    evictions: int
    moves: int
    last: WorkingSnapshot | None
