"""What a UNet is asked while it draws: calls to calibrate a quantized one with, from noise to picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from studio.engine.loaders import ComponentSet
from studio.engine.views import build_view
from studio.types import Family, Task

Call = tuple[tuple[Any, ...], Mapping[str, Any]]
"""The positional and the named arguments of one call of a network."""
MOST_STEPS = 25
STEPS_MORE = 4
"""Walks are of so many different lengths, so that together they meet more times than one alone."""


class Calls(Sequence[Call]):
    """Calls that are recorded when they are first looked at: who needs none waits for none."""

    def __init__(self, record: Callable[[], list[Call]]) -> None:
        self._record = record
        self._recorded: list[Call] | None = None

    def _all(self) -> list[Call]:
        if self._recorded is None:
            self._recorded = self._record()
        return self._recorded

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> list[Call]: ...
    def __getitem__(self, index: int | slice) -> Call | list[Call]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Call]:
        return iter(self._all())


class Recording:
    """Takes a module's place, and writes down what it is called with."""

    def __init__(self, module: Any, calls: list[Call]) -> None:
        self._module, self._calls = module, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __call__(self, *values: Any, **named: Any) -> Any:
        self._calls.append((values, named))
        return self._module(*values, **named)


def calls_of(components: ComponentSet, family: Family, prompts: Sequence[str]) -> list[Call]:
    """What the UNet of a set is asked while it draws each prompt with the model's own settings, the noisiest first in
    each walk; the prompts' walks are of different lengths. By PyTorch; nothing is decoded."""
    import torch

    own, calls = components.spec.defaults, list[Call]()
    for index, prompt in enumerate(prompts):
        view = build_view(components, family.pipeline_classes[Task.TEXT_TO_IMAGE], own.scheduler)
        view.unet = Recording(view.unet, calls)
        view(
            prompt,
            width=own.width,
            height=own.height,
            num_inference_steps=min(own.num_inference_steps, MOST_STEPS) + index % STEPS_MORE,
            guidance_scale=own.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(index),
            output_type="latent",
        )
    return calls
