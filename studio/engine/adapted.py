"""Clones that carry adapters: they share every weight with a pristine model, and nothing that is hung on them."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.construction import CONSTRUCTION_LOCK
from studio.engine.clone import clone_shared
from studio.engine.loaders import ComponentSet
from studio.engine.memory import storages

TOKENIZER = "tokenizer"

Adapt = Callable[[Mapping[str, Any]], None]
"""Puts weights on a clone's parts."""


@dataclass(frozen=True)
class AdaptedSet(ComponentSet):
    """A clone with its adapters. pristine: the model that it shares its weights with.

    lock: whoever sets how strongly the adapters act holds it until the call is over.
    """

    pristine: ComponentSet | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, compare=False, repr=False)


def adapted_set(pristine: ComponentSet, adapt: Adapt) -> AdaptedSet:
    """Clone a model and put adapters on the clone. Costs tens of milliseconds and the adapters' own bytes.

    The graphs of OpenVINO know nothing of adapters, so that the clone has none. If `adapt` raises, the clone is gone
    and the model is as it was.
    """
    started = time.perf_counter()
    with CONSTRUCTION_LOCK:
        parts = {name: _cloned(name, part) for name, part in pristine.components.items()}
        adapt(parts)
        for part in parts.values():
            if hasattr(part, "requires_grad_"):
                part.requires_grad_(False)
    return AdaptedSet(
        components=parts,
        spec=pristine.spec,
        source=pristine.source,
        bytes=sum(storages(parts.values()).values()),
        sha256=pristine.sha256,
        latent_rgb=pristine.latent_rgb,
        load_seconds=time.perf_counter() - started,
        pristine=pristine,
    )


def _cloned(name: str, part: Any) -> Any:
    """A part of a clone. A tokenizer is copied, since textual inversion adds words to it; a scheduler is stateless
    here, every view makes its own."""
    import torch

    if isinstance(part, torch.nn.Module):
        return clone_shared(part)
    return copy.deepcopy(part) if name.startswith(TOKENIZER) else part
