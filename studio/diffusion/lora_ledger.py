"""Where memory goes in a training, of all weights or of low-rank patches beside them: by formula, and measured.

    weights      P b                  all of them, trained or not
    gradients    T b                  of what is trained
    Adam         2 T b                two running means of each gradient       Kingma and Ba, 1412.6980, algorithm 1
    activations  what the backward pass reads again; nearly the same for a patch, since it passes through every layer

P: numbers in the model; T: trained ones, r (out + in) for each patched weight; b: bytes of a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from studio.diffusion.lora import parameters


@dataclass(frozen=True)
class Ledger:
    """Bytes. activations: 0 where they were not measured."""

    weights: int
    gradients: int
    adam: int
    activations: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.adam + self.activations


def full_ledger(model_numbers: int, number_bytes: int = 4) -> Ledger:
    """Training every weight: P = T."""
    return Ledger(*(count * model_numbers * number_bytes for count in (1, 1, 2)))


def lora_ledger(model_numbers: int, shapes: Iterable[tuple[int, int]], rank: int, number_bytes: int = 4) -> Ledger:
    """Training patches of a rank on weights of these (out, in). The base stays in memory; only T shrinks."""
    trained = parameters(shapes, rank)
    return Ledger((model_numbers + trained) * number_bytes, trained * number_bytes, 2 * trained * number_bytes)


def measured_ledger(weights: Sequence[Tensor], trained: Sequence[nn.Parameter], loss: Callable[[], Tensor]) -> Ledger:
    """What one step of Adam really holds. loss(): one forward pass, which reads `trained`, all of them float tensors.

    activations: the storages that autograd keeps for the backward pass, each once, the weights' own left out.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*weights, *trained)}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss()
    activations = sum(kept.values())
    optimizer = torch.optim.Adam(list(trained))
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    moments = [one for state in optimizer.state.values() for one in state.values() if one.ndim]
    gradients = [one.grad for one in trained if one.grad is not None]
    return Ledger(_bytes((*weights, *trained)), _bytes(gradients), _bytes(moments), activations)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Of different tensors, each once."""
    return sum(one.numel() * one.element_size() for one in {id(tensor): tensor for tensor in tensors}.values())
