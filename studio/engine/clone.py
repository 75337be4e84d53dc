"""A second body for the same weights: what one call hangs on a module, no other call can see."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Module = TypeVar("Module", bound="torch.nn.Module")


def clone_shared(module: Module) -> Module:
    """A new tree of modules whose parameters and buffers are the storage of the old one's.

    Hooks, processors and adapters of the clone are its own. Nothing may be written into its weights.
    """
    import torch

    memo: dict[int, object] = {
        id(parameter): torch.nn.Parameter(parameter.detach(), requires_grad=False) for parameter in module.parameters()
    }
    memo |= {id(buffer): buffer for buffer in module.buffers()}
    return copy.deepcopy(module, memo)
