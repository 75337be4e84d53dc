"""What a person asks an evaluation or a benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """model: an id, or None for the one that the question is about; samples: None for as many as the preset takes;
    language: of the prompts, where there are any; kind: of map, where there are kinds."""

    model: str | None = None
    preset: str = "cpu"
    seed: int = 0
    samples: int | None = None
    language: str = "en"
    kind: str | None = None
