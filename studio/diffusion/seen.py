"""What was seen of one tensor on a network's walks back: its range at each time, and how its values are spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

VALUES, BINS = 512, 1_024
"""How many values of a tensor are kept of each call, and how finely all of them are counted."""
POOLED_BINS = 4_096
SMALLEST_RANGE = 1e-12


@dataclass(frozen=True, eq=False)
class Seen:
    """What went into one layer. t, low, high: (calls,); values: (calls, n), some of what lies between, drawn; shares:
    (calls, BINS), how much of it lies in each of so many equal bins from low to high: rare large values, which no draw
    shows, are counted too."""

    t: Tensor
    low: Tensor
    high: Tensor
    values: Tensor
    shares: Tensor

    @classmethod
    def of_tensors(cls, t: Tensor, tensors: Sequence[Tensor], generator: torch.Generator | None = None) -> Seen:
        """From everything that went in, call by call."""
        return gathered(t, [counted(x, generator) for x in tensors])

    @property
    def centres(self) -> Tensor:
        """Of the bins. (calls, BINS)"""
        at = (torch.arange(BINS) + 0.5) / BINS
        return self.low[:, None] + self.range[:, None] * at

    def pooled(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All calls as one, each as much as any other: values and how much each counts, (1, POOLED_BINS) both, and the
        whole range, (1,), (1,)."""
        low, high = self.low.amin(), self.high.amax()
        width = ((high - low) / POOLED_BINS).clamp(min=SMALLEST_RANGE)
        bins = ((self.centres - low) / width).long().clamp(0, POOLED_BINS - 1).flatten()
        shares = torch.bincount(bins, self.shares.flatten(), POOLED_BINS).float() / len(self.t)
        values = low + width * (torch.arange(POOLED_BINS) + 0.5)
        return values[None], shares[None], low[None], high[None]

    @property
    def range(self) -> Tensor:
        """Largest less smallest value, of each call. (calls,)"""
        return self.high - self.low

    def of(self, calls: Tensor) -> Seen:
        """Of some calls, by their numbers, or of some more than once."""
        return Seen(*(one[calls] for one in (self.t, self.low, self.high, self.values, self.shares)))

    def correlation(self) -> float:
        """Pearson's r of the range and t; 0 where either never changes."""
        t, values = self.t.double() - self.t.double().mean(), self.range.double() - self.range.double().mean()
        norm = float(t.norm() * values.norm())
        return float(t @ values) / norm if norm > 0 else 0.0

    def ratio(self) -> float:
        """The largest range over the smallest, over t: how much there is to gain. The range at a t is a mean."""
        by_time = torch.stack([self.range[self.t == t].mean() for t in sorted(set(self.t.tolist()))])
        return float((by_time.max() + SMALLEST_RANGE) / (by_time.min() + SMALLEST_RANGE))


Counted = tuple[Tensor, Tensor, Tensor, Tensor]


def counted(x: Tensor, generator: torch.Generator | None) -> Counted:
    """The smallest and the largest value, VALUES others with repetition, and the share of each bin."""
    flat = x.detach().reshape(-1).float()
    low, high = flat.aminmax()
    picks = torch.randint(len(flat), (VALUES,), generator=generator).to(flat.device)
    bins = ((flat - low) * (BINS / (high - low).clamp(min=SMALLEST_RANGE))).long().clamp_(0, BINS - 1)
    shares = torch.bincount(bins, minlength=BINS).float() / len(flat)
    return low.cpu(), high.cpu(), flat[picks].cpu(), shares.cpu()


def gathered(t: Tensor, found: Sequence[Counted]) -> Seen:
    """One tensor, call by call. t: (calls,)"""
    return Seen(t, *(torch.stack(column) for column in zip(*found, strict=True)))
