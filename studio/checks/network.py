"""Checks of the noise-predicting network, built anew with seeded weights."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.checks.check import Check, Subject, differs
from studio.diffusion.blocks import BlockAttention, Down, SinusoidalEmbedding
from studio.diffusion.unet import UNet

SIDE, DIM = 16, 8
SHAPES = ((1,), (1, 2), (1, 1, 2), (1, 2, 4, 8))


def _net(on: Subject, dim_mults: tuple[int, ...] = (1, 2), gates: bool = True) -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(on.seed)
        return UNet(DIM, dim_mults, gates=gates).eval()


def _pictures(on: Subject) -> Tensor:
    """Two noisy pictures. (2, 3, SIDE, SIDE)"""
    return torch.randn(2, 3, SIDE, SIDE, generator=on.generator(13))


def _embedding(on: Subject) -> float:
    """How many numbers of the embedding of t = 0 are not zeros, then ones."""
    embedding = SinusoidalEmbedding(32)(torch.zeros(1))
    return differs(embedding, torch.cat([torch.zeros(1, 16), torch.ones(1, 16)], 1))


def _hears_time(on: Subject) -> float:
    """The share of the output that stays the same when t alone changes; 1 without a time embedding."""
    net, x = _net(on), _pictures(on)
    early, late = net(x, torch.tensor([3, 3])), net(x, torch.tensor([700, 700]))
    return float((early == late).double().mean())


def _shapes(on: Subject) -> float:
    """How many depths do not give back the shape that came in."""
    x, t = _pictures(on), torch.tensor([0, 999])
    return float(sum(_net(on, mults)(x, t).shape != x.shape for mults in SHAPES))


def _gate(on: Subject) -> float:
    """What leaves a gate against gate * x; infinite where the gate is not strictly between 0 and 1."""
    generator = on.generator(14)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(on.seed)
        attention = BlockAttention(6, 4)
    x, g = torch.randn(2, 6, 8, 8, generator=generator), torch.randn(2, 4, 8, 8, generator=generator)
    gate = attention.gate(x, g)
    if not bool(((gate > 0) & (gate < 1)).all()):
        return math.inf
    return float((attention(x, g) - gate * x).abs().max())


def _down(on: Subject) -> float:
    """Space-to-depth with a convolution that changes nothing, turned back: how many pixels are lost."""
    down, x = Down(3, 12), _pictures(on)
    nn.init.dirac_(down.conv.weight)
    nn.init.zeros_(down.conv.bias)  # type: ignore[arg-type]
    return differs(F.pixel_shuffle(down(x), 2), x)


CHECKS = (
    Check(
        "network.embedding",
        r"\mathrm{emb}(0) = (0, \dots, 0, 1, \dots, 1)",
        "Vaswani et al. (1706.03762), section 3.5",
        _embedding,
        0.0,
    ),
    Check(
        "network.hears_time",
        r"\epsilon_\theta(x, t) \ne \epsilon_\theta(x, t')",
        "DDPM (2006.11239), section 3.3",
        _hears_time,
        0.01,
        ("seed",),
    ),
    Check(
        "network.shapes",
        r"\epsilon_\theta : \mathbb R^{C \times H \times W} \to \mathbb R^{C \times H \times W}",
        "Ronneberger et al. (1505.04597)",
        _shapes,
        0.0,
        ("seed",),
    ),
    Check(
        "network.gate",
        r"0 < g < 1, \quad y = g \cdot x",
        "Oktay et al. (1804.03999), eq. 1, 2",
        _gate,
        0.0,
        ("seed",),
    ),
    Check(
        "network.down",
        r"\mathbb R^{C \times H \times W} \cong \mathbb R^{4C \times H/2 \times W/2}",
        "Shi et al. (1609.05158), eq. 4",
        _down,
        0.0,
        ("seed",),
    ),
)
