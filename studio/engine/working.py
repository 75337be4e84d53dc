"""How much memory a request needs beside its models: measured when one like it ran, and predicted for the next."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from studio.types import GenerationRequest, PipelineKey, Precision, Task

MEASURES = 4
"""The most of the last measures counts: the first of them also sees what libraries set up once."""
MAX_SHAPES = 256


@dataclass(frozen=True)
class RequestShape:
    """What the working memory of a request depends on."""

    model: PipelineKey
    task: Task
    width: int
    height: int
    num_images: int
    guided: bool
    precision: Precision = Precision.EXACT
    controls: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: GenerationRequest, model: PipelineKey) -> RequestShape:
        return cls(
            model,
            request.task,
            request.width,
            request.height,
            request.num_images,
            request.guidance_scale > 1.0,
            request.precision,
            tuple(sorted(use.control_id for use in request.controls)),
        )

    @property
    def pixels(self) -> int:
        """How many pixels the network sees at once; with guidance it sees each picture twice."""
        return self.width * self.height * self.num_images * (2 if self.guided else 1)


class WorkingMemory:
    """What requests were seen to need, by their shape. Any thread may use it; the shapes used last are remembered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._measured: OrderedDict[RequestShape, deque[int]] = OrderedDict()

    def learn(self, shape: RequestShape, peak_bytes: int) -> None:
        """A request of this shape took so much over what was resident."""
        with self._lock:
            self._measured.setdefault(shape, deque(maxlen=MEASURES)).append(peak_bytes)
            self._measured.move_to_end(shape)
            while len(self._measured) > MAX_SHAPES:
                self._measured.popitem(last=False)

    def predict(self, shape: RequestShape) -> int | None:
        """What a request of this shape will need; None before any of its model has run.

        For a new shape by the nearest in pixels of the same model, in proportion where that is smaller.
        """
        with self._lock:
            if shape in self._measured:
                return max(self._measured[shape])
            known = [other for other in self._measured if other.model == shape.model]
            if not known:
                return None
            nearest = min(known, key=lambda other: _distance(other, shape))
            return int(max(self._measured[nearest]) * max(1.0, shape.pixels / nearest.pixels))


def _distance(one: RequestShape, other: RequestShape) -> tuple[int, float]:
    """First in how many ways two requests differ in kind, then by the ratio of their pixels."""
    kinds = ((one.task, other.task), (one.controls, other.controls), (one.precision, other.precision))
    ratio = max(one.pixels, other.pixels) / min(one.pixels, other.pixels)
    return sum(mine != yours for mine, yours in kinds), ratio
