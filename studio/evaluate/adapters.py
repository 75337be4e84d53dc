"""What evaluations of adapters share: how well prompts are kept, and views over a model that carries adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from studio.engine.adapted import adapted_set
from studio.engine.autoencoder import encoded
from studio.engine.generate import decode
from studio.engine.loaders import ComponentSet
from studio.engine.views import build_view
from studio.evaluate.report import ReportRow, wilson
from studio.evaluate.text2img import Tally, Truth
from studio.types import Scheduler

PIPELINE = "StableDiffusionPipeline"
PROMPT_MEASURES = ("background", "kind recall", "colour", "person")
MOST_PROMPT_LOSS = {"cpu": 0.20, "gpu": 0.10}


@dataclass(frozen=True)
class Perfect:
    """A painter that errs in nothing but what its autoencoder cannot carry: renders of the scenes themselves, encoded
    and decoded. view: a pipeline for text to image."""

    view: Any
    true: Truth

    @property
    def seed(self) -> int:
        return self.true.seed

    @torch.inference_mode()
    def draw(self, prompts: Sequence[str]) -> Iterator[tuple[range, list[Image.Image]]]:
        for places, pictures in self.true.draw(prompts):
            latents = encoded(self.view, pictures, torch.Generator().manual_seed(self.seed))
            yield places, list(decode(self.view, latents))


def adapted_view(pristine: ComponentSet, scheduler: Scheduler, load: Callable[[Any], None]) -> Any:
    """diffusers' own pipeline over a clone of the model, on which `load` has put adapters the way anybody would."""
    adapted = adapted_set(pristine, lambda parts: load(_stock(parts)))
    return build_view(adapted, PIPELINE, scheduler)


def _stock(parts: Mapping[str, Any]) -> Any:
    import diffusers

    return getattr(diffusers, PIPELINE)(**parts, requires_safety_checker=False)


def kept(tally: Tally, names: Sequence[str] = PROMPT_MEASURES) -> tuple[int, int]:
    """How many of all attributes that prompts asked for are there, and how many were asked for."""
    return sum(tally.right.get(name, 0) for name in names), sum(tally.asked.get(name, 0) for name in names)


def accuracy(tally: Tally, names: Sequence[str] = PROMPT_MEASURES) -> float:
    """The share of attributes that are there; 0 of nothing."""
    right, asked = kept(tally, names)
    return right / max(1, asked)


def accuracy_row(
    name: str, where: str, tally: Tally, without: Tally, names: Sequence[str] = PROMPT_MEASURES
) -> ReportRow:
    """Prompt accuracy, beside that without the adapter on the same noise."""
    low, high = wilson(*kept(tally, names))
    return ReportRow(name, accuracy(tally, names), "share", where, low, high, baseline=accuracy(without, names))


def loss_row(
    name: str,
    where: str,
    tally: Tally,
    without: Tally,
    target: float | None,
    names: Sequence[str] = PROMPT_MEASURES,
) -> ReportRow:
    """How much prompt accuracy the adapter costs, on the same prompts and noise."""
    value = accuracy(without, names) - accuracy(tally, names)
    return ReportRow(name, value, "share", where, target=target, sense="lower")


def read(tally: Tally, part: str) -> Tensor:
    """Logits of one part of what the eye read, (N, ...), of all pictures in order."""
    return torch.cat([getattr(reading, part) for reading in tally.readings])
