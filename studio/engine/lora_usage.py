"""How a LoRA asks to be used, where it needs other settings than its base: one that was trained for a few steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from studio.diffusion.lora_keys import INFERENCE_GUIDANCE, INFERENCE_SAMPLER, INFERENCE_STEPS
from studio.types import MAX_GUIDANCE, MAX_STEPS, Scheduler


@dataclass(frozen=True)
class Usage:
    """Settings of a request."""

    sampler: Scheduler
    steps: int
    guidance_scale: float


def usage_of(metadata: Mapping[str, str]) -> Usage | None:
    """What a file's header says, which may be anybody's: None unless it is all there and within a request's bounds."""
    try:
        sampler, steps = Scheduler(metadata[INFERENCE_SAMPLER]), int(metadata[INFERENCE_STEPS])
        guidance_scale = float(metadata[INFERENCE_GUIDANCE])
    except (KeyError, ValueError):
        return None
    within = 1 <= steps <= MAX_STEPS and 0 <= guidance_scale <= MAX_GUIDANCE  # NaN is not
    return Usage(sampler, steps, guidance_scale) if within else None
