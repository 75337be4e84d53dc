"""Heat maps of attention: where each place of a layer stands in the picture, and what it looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Maps = np.ndarray[tuple[int, int, int, int], np.dtype[np.float16]]
"""(images, columns, h, w)"""


class MeanMaps:
    """The mean of several layers' maps, each (images, columns, h, w)."""

    def __init__(self) -> None:
        self._sum: torch.Tensor | None = None
        self._count = 0

    def add(self, maps: torch.Tensor) -> None:
        self._sum = maps if self._sum is None else self._sum + maps
        self._count += 1

    def mean(self) -> Maps | None:
        """None of nothing."""
        if self._sum is None:
            return None
        return (self._sum / self._count).cpu().numpy().astype(np.float16)


def attention_shares(query: torch.Tensor, key: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """softmax(scale q k^T) of an attention layer, averaged over its heads.

    query: (B, places, heads * d); key: (B, tokens, heads * d); returns (B, places, tokens) float32, rows sum to one.
    One image at a time: all heads of all images at once would take more memory than the step itself.
    """
    import torch

    queries, keys = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key))  # (B, heads, _, d)
    scores = (q.float() @ k.float().mT * scale for q, k in zip(queries, keys, strict=True))
    return torch.stack([score.softmax(-1).mean(0) for score in scores])


def grid_of(places: int, latents: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a layer with so many places: the latents' own, halved and rounded up as often as needed."""
    height, width = latents
    while height * width > places:
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size, made smaller in proportion where its longer side exceeds `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (B, columns, h, w) at another size. Every new place is a weighted mean, so columns still sum to one."""
    from torch.nn.functional import interpolate

    smaller = maps.shape[-2] >= size[0] and maps.shape[-1] >= size[1]
    return interpolate(maps, size=size, mode="area" if smaller else "bilinear")
