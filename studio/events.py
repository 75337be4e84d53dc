"""What a running job tells, what it may touch and what it leaves. Standard library only.

A job runs `Work`, which emits events through its `Context`; the queue adds one of the final events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from studio.types import GenerationRequest

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Timings:
    """Seconds that each phase of a generation took."""

    load_seconds: float = 0.0
    encode_seconds: float = 0.0
    denoise_seconds: float = 0.0
    decode_seconds: float = 0.0


@dataclass(frozen=True)
class GenerationResult:
    """The pictures of a request, and what they cost. `request` reproduces them."""

    images: tuple[Image, ...]
    request: GenerationRequest
    timings: Timings
    peak_bytes: int
    model_sha256: str = ""
    notes: tuple[str, ...] = ()
    """Keys into assets/i18n, under `note.`, of what a person should know about these pictures."""
    record_id: str = ""
    """Under which the history keeps these pictures; empty where it does not."""
    backend: str = "torch"
    """What computed the pictures: "torch" or "openvino"."""
    inside: Any = field(default=None, compare=False, repr=False)
    """What was seen inside, an `engine.inside.Inside`; None where nobody asked for it."""


@dataclass(frozen=True)
class Queued:
    """Waiting: `position` jobs are before this one."""

    position: int
    estimate_seconds: float | None = None


@dataclass(frozen=True)
class Loading:
    """A model is being read from disk."""

    model_id: str


@dataclass(frozen=True)
class Downloading:
    """Files of a model are on their way from a hub. file: the one that comes now, by its name in the repository."""

    model_id: str
    done_bytes: int
    total_bytes: int
    file: str


@dataclass(frozen=True)
class Step:
    """A denoising step is done. index: 1-based; previews: one small RGB picture per image, or empty.

    Index 0 is before the first step: how a picture that is drawn from another one looks once it is noised.
    """

    index: int
    total: int
    previews: Sequence[Image] = ()


@dataclass(frozen=True)
class Decoding:
    """The latents are finished and become pixels."""


@dataclass(frozen=True)
class Row:
    """One line of a table that a longer work (a sweep, an evaluation, a training) fills."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """The end of a work that came to its end. result: a GenerationResult for a generation."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The end of a work that could not be finished."""

    error: Exception


@dataclass(frozen=True)
class Stopped:
    """The end of a work that its owner cancelled."""


Event = Queued | Loading | Downloading | Step | Decoding | Row | Done | Failed | Stopped
FINAL_EVENTS = (Done, Failed, Stopped)


class Context(Protocol):
    """What a running work may touch."""

    @property
    def registry(self) -> Any: ...

    def emit(self, event: Event) -> None:
        """Tell those who tail the job. Not for the final events: the queue tells them when the work ends."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when the job's owner has asked to stop."""

    def yield_device(self) -> None:
        """Let the pictures that wait for the device be drawn before this work goes on.

        Long work calls it between its steps, never while it holds the registry's lane: they could not draw, nor it go
        on. What it leases stays in memory meanwhile. Raises `Cancelled` as `check_cancelled`.
        """


class Work(Protocol):
    """What a job runs: emits its events through the context, and returns what `Done` then carries.

    A work of minutes sets the class attribute `long = True` and calls `context.yield_device()` between its steps.
    """

    def run(self, context: Context) -> Any: ...
