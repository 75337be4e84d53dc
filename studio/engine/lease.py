"""What a work is given to draw with, while it holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from studio.engine.adapted import AdaptedSet
from studio.engine.budget import Key
from studio.engine.loaders import ComponentSet
from studio.engine.memory import Meter, PeakMeter
from studio.engine.prompts import Embeddings, PromptCache
from studio.engine.steering import UNSTEERED, Steering
from studio.engine.views import build_view
from studio.engine.working import RequestShape
from studio.errors import InvalidInput
from studio.types import Family, GenerationRequest, ModelSpec, PipelineKey, Scheduler, Task


def _unbilled(change_bytes: int) -> None:
    """For a set that belongs to no registry."""


@contextmanager
def _unreserved(shape: RequestShape) -> Iterator[Meter]:
    """For a set that belongs to no registry."""
    with PeakMeter(shape.model.device) as meter:
        yield meter


@dataclass(frozen=True)
class Lease:
    """A set that stays in memory while it is held. `family` knows the pipeline class of each task.

    steering: the controls of the request that it was leased for.
    """

    key: Key
    components: ComponentSet
    family: Family
    bill: Callable[[int], None] = _unbilled
    """Told how many bytes more (or, negative, fewer) the set takes now. Raises ModelUnavailable if they do not fit."""
    reserve_shape: Callable[[RequestShape], AbstractContextManager[Meter]] = _unreserved
    steering: Steering = UNSTEERED
    prompts: PromptCache = field(default_factory=PromptCache, compare=False, repr=False)
    bills: Mapping[str, Callable[[int], None]] = field(default_factory=dict, compare=False, repr=False)
    """As `bill`, of the sets of the controls, by their hashes."""

    @property
    def steering_sets(self) -> Iterator[tuple[ComponentSet, Callable[[int], None]]]:
        """The sets of the request's controls, each with its own `bill`."""
        for acting in self.steering.acting_controls:
            for one in acting.sets:
                yield one, self.bills.get(one.sha256, _unbilled)

    @property
    def spec(self) -> ModelSpec:
        return self.components.spec

    @property
    def pipeline(self) -> PipelineKey:
        """The key of the pristine set, also for a clone of it."""
        return self.key if isinstance(self.key, PipelineKey) else self.key.pipeline

    @property
    def pristine(self) -> ComponentSet:
        """The set as it was loaded, also for a clone of it: to read, not to draw with."""
        pristine = self.components.pristine if isinstance(self.components, AdaptedSet) else None
        return pristine or self.components

    def view(self, task: Task, scheduler: Scheduler) -> Any:
        """A new diffusers pipeline with a new scheduler over the shared components and what the controls bring.

        Raises InvalidInput for a task that the family cannot do with a ControlNet.
        """
        parts = self.steering.parts()
        classes = self.family.controlnet_classes if "controlnet" in parts else self.family.pipeline_classes
        if task not in classes:
            raise InvalidInput("not_with_this_model", field="controls", task=task.value, model=self.spec.name)
        return build_view(self.components, classes[task], scheduler, parts)

    def embeddings(self, request: GenerationRequest, encode: Callable[[], Embeddings]) -> Embeddings:
        """Those of a request's prompts, encoded if nobody asked for them lately. A clone's encoder may be adapted."""
        if isinstance(self.components, AdaptedSet):
            return encode()
        guided = request.guidance_scale > 1.0
        words = (request.prompt, request.negative_prompt if guided else "", guided)
        return self.prompts.get((self.key, self.components.sha256, *words), encode)

    def reserve(self, request: GenerationRequest) -> AbstractContextManager[Meter]:
        """Keep room for what a request will need beside its models, and measure what it then takes."""
        return self.reserve_shape(RequestShape.of(request, self.pipeline))

    @contextmanager
    def steered(self, view: Any) -> Iterator[Mapping[str, Any]]:
        """Let the controls act on a view; gives the further arguments of its call.

        Leaving restores everything, whatever happens. A clone's adapters are one call's alone meanwhile.
        """
        lock = self.components.lock if isinstance(self.components, AdaptedSet) else nullcontext()
        with lock, self.steering.acting(view) as arguments:
            yield arguments
