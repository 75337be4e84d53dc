"""Muon for the hidden convolutions and matrices of a network without normalisation."""

from __future__ import annotations

from collections.abc import Iterable

import torch
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
    the matrix (O, I * h * w)."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                velocity = state.setdefault("velocity", torch.zeros_like(p))
                velocity.mul_(group["momentum"]).add_(p.grad)
                update = (p.grad + group["momentum"] * velocity).reshape(p.shape[0], -1)
                rows, columns = update.shape
                scale = max(1.0, rows / columns) ** 0.5
                p.add_(orthogonalised(update).view_as(p), alpha=-group["lr"] * scale)
