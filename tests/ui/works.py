"""Works and results that need no model."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from studio.events import Context, Event, GenerationResult, Step, Timings
from studio.types import GenerationRequest


def picture(colour: str = "red") -> Image.Image:
    return Image.new("RGB", (8, 8), colour)


def result(num_images: int = 1, prompt: str = "a red ball") -> GenerationResult:
    request = GenerationRequest("little-world", prompt, seed=7, num_images=num_images, num_inference_steps=10)
    timings = Timings(load_seconds=9.0, encode_seconds=0.1, denoise_seconds=0.5, decode_seconds=0.4)
    return GenerationResult(tuple(picture() for _ in range(num_images)), request, timings, peak_bytes=2**30)


@dataclass
class Scripted:
    """A work that tells these events, waits for `may_end` (a cancel ends the waiting) and returns or raises."""

    events: tuple[Event, ...] = (Step(1, 2), Step(2, 2))
    outcome: Any = field(default_factory=result)
    may_end: threading.Event = field(default_factory=threading.Event)

    def run(self, context: Context) -> Any:
        for event in self.events:
            context.emit(event)
        while not self.may_end.wait(0.01):
            context.check_cancelled()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def finished(outcome: Any = None) -> Scripted:
    """A work that ends at once."""
    work = Scripted(outcome=outcome or result())
    work.may_end.set()
    return work
