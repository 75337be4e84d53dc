"""Muon for the hidden convolutions and matrices of a network: on the eye and the autoencoder it needed a fraction of
AdamW's steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def orthogonalised(update: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: all singular values come near 1. update: (rows, columns).

    Quintic Newton-Schulz iteration of Jordan et al., "Muon" (2024), with their coefficients.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update / (update.norm() + 1e-7)
    transposed = x.shape[0] > x.shape[1]
    x = x.T if transposed else x
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if transposed else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised. torch.optim.Muon takes only matrices; here a kernel (O, I, h, w) is
    the matrix (O, I * h * w).

    lr: the spectral norm of a step. With several processes, whose gradients must be averaged already, each
    orthogonalises its share of the matrices and all exchange the results.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(sorted(parameters, key=lambda p: -p.numel()), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            chosen = [p for p in group["params"] if p.grad is not None]
            updates = _shared([self._momentum(p, group["momentum"]) for p in chosen])
            for p, update in zip(chosen, updates, strict=True):
                rows = p.shape[0]
                scale = max(1.0, rows * rows / p.numel()) ** 0.5
                p.add_(update.view_as(p), alpha=-group["lr"] * scale)

    def _momentum(self, p: torch.nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's momentum as a matrix (rows, columns)."""
        assert p.grad is not None
        velocity: Tensor = self.state[p].setdefault("velocity", torch.zeros_like(p))
        velocity.mul_(momentum).add_(p.grad)
        return (p.grad + momentum * velocity).reshape(p.shape[0], -1)


def _shared(matrices: list[Tensor]) -> list[Tensor]:
    """All matrices orthogonalised, in bfloat16; every process does those of its turn."""
    rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if processes == 1:
        return [orthogonalised(matrix.bfloat16()).to(matrix.dtype) for matrix in matrices]
    flat = torch.zeros(sum(matrix.numel() for matrix in matrices))
    parts = flat.split([matrix.numel() for matrix in matrices])
    for turn, (matrix, part) in enumerate(zip(matrices, parts, strict=True)):
        if turn % processes == rank:
            part.copy_(orthogonalised(matrix.bfloat16()).reshape(-1))
    dist.all_reduce(flat)
    return [part.view_as(matrix) for part, matrix in zip(parts, matrices, strict=True)]


class MuonWithAdamW:
    """Muon for the hidden matrices and kernels of a network and AdamW for all else, as one optimizer."""

    def __init__(
        self, network: torch.nn.Module, hidden: Iterable[torch.nn.Parameter], muon_rate: float, adam_rate: float
    ) -> None:
        chosen = list(hidden)
        picked = set(chosen)
        others = [p for p in network.parameters() if p not in picked]
        adam = torch.optim.AdamW(others, adam_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self._both: dict[str, torch.optim.Optimizer] = {"muon": Muon(chosen, muon_rate), "adam": adam}
        self._rates = {"muon": muon_rate, "adam": adam_rate}

    def step(self, factor: float) -> None:
        """One step at `factor` times both rates; the gradients are gone afterwards."""
        for name, optimizer in self._both.items():
            optimizer.param_groups[0]["lr"] = factor * self._rates[name]
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {name: optimizer.state_dict() for name, optimizer in self._both.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, optimizer in self._both.items():
            optimizer.load_state_dict(state[name])
