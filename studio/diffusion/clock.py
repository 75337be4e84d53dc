"""Which time a network is being asked about, for the layers below it that are not told."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Clock:
    """Listens at a network's door: t is the time of each sample of the call that is under way, (B,) or (1,) int64.

    A network's second argument is its time, as in net(xt, t, ...) and in diffusers' unet(sample, timestep, ...). Times
    between two are rounded, times outside [0, T) moved inside: T is how long the tables are. A copy of the network
    (copy.deepcopy) has a clock of its own.
    """

    def __init__(self, T: int):
        self.T = T
        self.t = torch.zeros(1, dtype=torch.int64)
        self._argument = ""
        self._handle: RemovableHandle | None = None

    @classmethod
    def at(cls, net: nn.Module, T: int) -> Clock:
        """A clock at this network's door. Raises ValueError for one that is told no time."""
        names = list(inspect.signature(net.forward).parameters)
        if len(names) < 2:
            raise ValueError(f"a network is told its time as its second argument; {type(net).__name__} has none")
        clock = cls(T)
        clock._argument = names[1]
        clock._handle = net.register_forward_pre_hook(clock._hear, with_kwargs=True)
        return clock

    def leave(self) -> None:
        """Stop listening."""
        if self._handle is not None:
            self._handle.remove()

    def _hear(self, net: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.t = self.read(kwargs[self._argument] if self._argument in kwargs else args[1])

    def read(self, t: Any) -> Tensor:
        """A number, or a tensor of one or of a time for each sample, as an index of the tables. (B,) or (1,) int64"""
        return torch.as_tensor(t).reshape(-1).round().long().clamp(0, self.T - 1)

    def pick(self, values: Tensor, like: Tensor) -> Tensor:
        """values[t] of each sample, in a shape that multiplies `like`. values: (T,); (B, 1, ...) or (1, 1, ...)"""
        picked = values[self.t.to(values.device)]
        return picked.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype)
