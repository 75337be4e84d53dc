"""One budget of numbers, spent on one matrix or spread over several: where does a low-rank patch learn most?

Hu et al. (2106.09685), section 7.1 and table 5, at equal budgets: rank 8 on one matrix of an attention did worse than
rank 2 on four. Here the same question in seconds: an attention block is to become another one, all four of whose
matrices differ from its own by a change of rank 2; patches of equal size learn that from inputs and outputs alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from studio.diffusion.lora import initial, parameters, patched

NAMES = ("q", "k", "v", "out")
SPREADS: tuple[tuple[str, ...], ...] = (("q",), ("v",), ("q", "v"), ("q", "k", "v", "out"))
WIDTH, TOKENS, BATCH = 32, 8, 64
CHANGED_RANK = 2
"""Of what is to be learnt, in each matrix: what fine-tuning changes is of a low rank."""


@dataclass(frozen=True)
class Spent:
    """One way to spend the budget. loss: what is left of the error, 1 where nothing was learnt."""

    where: tuple[str, ...]
    rank: int
    parameters: int
    loss: float


def attention(x: Tensor, weights: Mapping[str, Tensor], patches: Mapping[str, object] | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V W_out with one head; a patch adds to its matrix. (B, N, D) -> (B, N, D)"""

    def applied(name: str, inputs: Tensor) -> Tensor:
        patch = (patches or {}).get(name)
        return F.linear(inputs, weights[name]) if patch is None else patched(inputs, weights[name], patch)  # type: ignore[arg-type]

    q, k, v = (applied(name, x) for name in ("q", "k", "v"))
    return applied("out", F.scaled_dot_product_attention(q, k, v))


def spend(
    budget_rank: int = 8, steps: int = 200, seed: int = 0, spreads: Sequence[tuple[str, ...]] = SPREADS
) -> list[Spent]:
    """Train each way with the same number of parameters, the same data and the same steps.

    budget_rank: the rank where all goes to one matrix; it must be divisible by the sizes of the spreads. Raises
    ValueError where it is not.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    base = {name: drawn(WIDTH, WIDTH, scale=WIDTH**-0.5) for name in NAMES}
    wanted = {
        name: weight + drawn(WIDTH, CHANGED_RANK) @ drawn(CHANGED_RANK, WIDTH, scale=0.5 / WIDTH)
        for name, weight in base.items()
    }
    x, unseen = drawn(8 * BATCH, TOKENS, WIDTH, scale=2.0), drawn(BATCH, TOKENS, WIDTH, scale=2.0)
    return [_spent(where, budget_rank, base, wanted, x, unseen, steps, seed) for where in spreads]


def _spent(
    where: tuple[str, ...], budget_rank: int, base: Mapping[str, Tensor], wanted: Mapping[str, Tensor], x: Tensor,
    unseen: Tensor, steps: int, seed: int,
) -> Spent:  # fmt: skip
    if budget_rank % len(where):
        raise ValueError(f"a budget of rank {budget_rank} cannot be spread over {len(where)} matrices")
    rank, generator = budget_rank // len(where), torch.Generator().manual_seed(seed + 1)
    patches = {name: initial(WIDTH, WIDTH, rank, rank, generator) for name in where}
    trained = [one.requires_grad_() for patch in patches.values() for one in (patch.down, patch.up)]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    with torch.enable_grad():
        for step in range(steps):
            batch = x[torch.randint(len(x), (BATCH,), generator=generator)]
            loss = F.mse_loss(attention(batch, base, patches), attention(batch, wanted))
            optimizer.param_groups[0]["lr"] = 1e-2 * (1 + math.cos(math.pi * step / steps)) / 2
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        target = attention(unseen, wanted)
        left = F.mse_loss(attention(unseen, base, patches), target) / F.mse_loss(attention(unseen, base), target)
    return Spent(where, rank, parameters([(WIDTH, WIDTH)] * len(where), rank), float(left))
