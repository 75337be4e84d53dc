"""Embeddings of the prompts that were asked for last: who draws the same words with another seed need not wait."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST_KEPT = 32
"""Half a megabyte each for Stable Diffusion 1.5, 1.3 MB for SDXL."""

Embeddings = Mapping[str, "torch.Tensor | None"]


class PromptCache:
    """The last embeddings, by all that determines them. Any thread may use it; nobody writes to what it gives."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Embeddings] = OrderedDict()

    def get(self, key: Hashable, encode: Callable[[], Embeddings]) -> Embeddings:
        """The embeddings under a key, encoded if they are not there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        encoded = encode()
        with self._lock:
            self._kept[key] = encoded
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return encoded

    def clear(self) -> None:
        """Keep nothing, where memory is wanted for something else."""
        with self._lock:
            self._kept.clear()
