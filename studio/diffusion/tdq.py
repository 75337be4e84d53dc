"""Temporal dynamic quantization: the step of a quantizer is a function of the time, learned, and a table afterwards.

So et al., "Temporal Dynamic Quantization for Diffusion Models" (2306.02316):
    I = enc(t), s(t) = softplus(MLP(I)), one small network for each activation quantizer
The network knows t alone, not the picture: once it is trained, s(0), ..., s(T - 1) are written into a table, and the
network is thrown away. What a code says of t can be swapped, which is how the paper's claims are put to the test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

T_MAX = 10_000.0
CODE_DIM, HIDDEN, DEPTH = 64, 64, 4
LAST_GAIN = 0.01


def fourier_codes(T: int, dim: int = CODE_DIM, t_max: float = T_MAX) -> Tensor:
    """What the network is told of each t: waves whose lengths grow geometrically.

    enc(t) = (sin(t w_i), cos(t w_i)), w_i = t_max^(-2 i / d), i = 0 .. d/2 - 1                        2306.02316
    Returns (T, dim) float32, sines first. Raises ValueError unless dim is even and at least 2.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be even and at least 2; it is {dim}")
    w = t_max ** (-2 * torch.arange(dim // 2, dtype=torch.float64) / dim)
    angles = torch.arange(T, dtype=torch.float64)[:, None] * w  # (T, dim / 2)
    return torch.cat([angles.sin(), angles.cos()], 1).float()


def raw_codes(T: int) -> Tensor:
    """t / T and nothing else: an ablation. (T, 1)"""
    return torch.arange(T, dtype=torch.float32)[:, None] / T


def interval_codes(T: int, count: int) -> Tensor:
    """Which of `count` equal intervals t lies in: with depth 1 the network is a free number for each. (T, count)"""
    if not 1 <= count <= T:
        raise ValueError(f"count must be from 1 to {T}; it is {count}")
    return F.one_hot(torch.arange(T) * count // T, count).float()


def shuffled(codes: Tensor, seed: int) -> Tensor:
    """The same codes, each at another time: as many numbers to learn with, but near times are not alike any more."""
    return codes[torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))]


def inverse_softplus(s: float) -> float:
    """The x with log(1 + e^x) = s: s + log(1 - e^-s). Raises ValueError unless s > 0."""
    if not s > 0:
        raise ValueError(f"s must be above 0; it is {s:g}")
    return s + math.log(-math.expm1(-s))


class StepNetwork(nn.Module):
    """s(t) = softplus(MLP(enc(t))) of one quantizer: `depth` linear layers with ReLU between.

    He initialisation; the last bias is softplus^-1(s0), and the last weights are LAST_GAIN of He's, so that s(t) begins
    within a few percent of s0 at every t (2306.02316 leaves them at He's size, which scatters the first s(t) widely).
    codes: (T, d); t: (B,) int64 in [0, T); returns (B,) float32, above 0. In eval mode it computes in float64 and
    rounds once, so that a time alone and a table of all give the same bits.
    """

    def __init__(self, codes: Tensor, s0: float, depth: int = DEPTH, hidden: int = HIDDEN):
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1; it is {depth}")
        self.register_buffer("codes", codes, persistent=False)
        sizes = [codes.shape[1], *[hidden] * (depth - 1), 1]
        linears = [nn.Linear(i, o) for i, o in pairwise(sizes)]
        for layer in linears:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            linears[-1].weight.mul_(LAST_GAIN)
            linears[-1].bias.fill_(inverse_softplus(s0))
        self.layers = nn.ModuleList(linears)

    def forward(self, t: Tensor) -> Tensor:
        assert isinstance(self.codes, Tensor)
        x = self.codes[t]  # (B, d)
        return self._steps(x) if self.training else self._steps(x.double()).float()

    def _steps(self, x: Tensor) -> Tensor:
        """In the precision of x. (B, d) -> (B,)"""
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            x = F.linear(F.relu(x) if number else x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
        return F.softplus(x.squeeze(1))


@torch.no_grad()
def table(networks: Sequence[StepNetwork]) -> Tensor:
    """Every step at every time, after which the networks are not needed any more. 2306.02316

    Returns (len(networks), T) float32. The networks stay in the mode they were in.
    """
    rows = []
    for network in networks:
        assert isinstance(network.codes, Tensor)
        was = network.training
        rows.append(network.eval()(torch.arange(len(network.codes), device=network.codes.device)))
        network.train(was)
    return torch.stack(rows)
