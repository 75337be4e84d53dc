"""The autoencoder of SDXL, whose pipelines cast it to float32 and back while they encode a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from studio.engine.clone import clone_shared
from studio.types import Task


@contextmanager
def own_autoencoder(view: Any, task: Task) -> Iterator[None]:
    """Give a view that encodes a picture a weight-sharing clone to cast: other calls share the set's own, and decode
    with it as it is. In float32 nothing is cast, and the set's own serves."""
    import torch

    shared = view.vae
    if task is not Task.TEXT_TO_IMAGE and view.unet.dtype != torch.float32 and shared.config.get("force_upcast"):
        view.vae = clone_shared(shared)
    try:
        yield
    finally:
        view.vae = shared
