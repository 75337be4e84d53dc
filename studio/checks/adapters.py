"""Checks of what is put beside a frozen network: zero convolutions and low-rank patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.checks.check import Check, Subject, differs, distance
from studio.diffusion import lora
from studio.diffusion.zero_conv import ControlledBlock

RANK, ALPHA = 4, 8.0


def _controlled(on: Subject) -> tuple[ControlledBlock, Tensor, Tensor]:
    """A controlled convolution that has not been trained, a picture and a condition."""
    generator = on.generator(15)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(on.seed)
        block = ControlledBlock(nn.Conv2d(4, 6, 3, padding=1), 4, 6, 2)
    x, condition = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 2, 8, 8, generator=generator)
    return block, x, condition


def _starts_as_base(on: Subject) -> float:
    block, x, condition = _controlled(on)
    return differs(block(x, condition), block.frozen(x))


def _learns(on: Subject) -> float:
    """The gradient that passes through the zeros, against the one that reaches the zeros themselves."""
    block, x, condition = _controlled(on)
    with torch.enable_grad():
        inside = block.trained(x + block.zero_in(condition)).detach().requires_grad_(True)
        loss = (block.frozen(x) + block.zero_out(inside) - 1).square().sum()
        of_weight, of_input = torch.autograd.grad(loss, (block.zero_out.weight, inside))
    return float(of_input.abs().max() / of_weight.abs().max())


def _weights(on: Subject) -> tuple[Tensor, lora.LowRank, Tensor]:
    """A weight, a trained patch, and inputs. (12, 10), rank RANK, (5, 10)"""
    g = on.generator(16)
    weight, down, up, x = (
        torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((12, 10), (RANK, 10), (12, RANK), (5, 10))
    )
    return weight, lora.LowRank(down, up, ALPHA), x


def _lora_starts_as_base(on: Subject) -> float:
    weight, _, x = _weights(on)
    fresh = lora.initial(12, 10, RANK, ALPHA, on.generator(17))
    patch = lora.LowRank(fresh.down.double(), fresh.up.double(), ALPHA)
    return differs(lora.patched(x, weight, patch), F.linear(x, weight))


def _merged(on: Subject) -> float:
    weight, patch, x = _weights(on)
    return distance(F.linear(x, lora.merged(weight, patch)), lora.patched(x, weight, patch))


def _unmerged(on: Subject) -> float:
    weight, patch, _ = _weights(on)
    return distance(lora.unmerged(lora.merged(weight, patch), patch), weight)


def _rank(on: Subject) -> float:
    """The largest singular value beyond the rank, against the largest of all."""
    _, patch, _ = _weights(on)
    s = lora.spectrum(patch.delta())
    return float(s[RANK] / s[0])


def _truncated(on: Subject) -> float:
    """What is lost by keeping half the rank, against the singular values that were dropped."""
    _, patch, _ = _weights(on)
    delta, kept = patch.delta(), RANK // 2
    lost = (delta - lora.truncated(delta, kept).delta()).norm()
    return distance(lost, lora.spectrum(delta)[kept:].norm())


CHECKS = (
    Check(
        "zero_conv.base",
        r"y_c = F(x) + Z(\cdot) = F(x)",
        "Zhang et al. (2302.05543), eq. 3",
        _starts_as_base,
        0.0,
        ("seed",),
    ),
    Check(
        "zero_conv.learns",
        r"\partial y / \partial w = x \ne 0, \quad \partial y / \partial x = w = 0",
        "Zhang et al. (2302.05543), section 3.1",
        _learns,
        0.0,
        ("seed",),
    ),
    Check(
        "lora.base",
        r"B = 0 \Rightarrow W_0 x + \tfrac{\alpha}{r} B A x = W_0 x",
        "Hu et al. (2106.09685), section 4.1",
        _lora_starts_as_base,
        0.0,
        ("seed",),
    ),
    Check(
        "lora.merged",
        r"(W_0 + \tfrac{\alpha}{r} B A)\, x = W_0 x + \tfrac{\alpha}{r} B (A x)",
        "Hu et al. (2106.09685), eq. 3",
        _merged,
        1e-12,
        ("seed",),
    ),
    Check(
        "lora.unmerged",
        r"(W_0 + \Delta W) - \Delta W = W_0",
        "Hu et al. (2106.09685), section 4.1",
        _unmerged,
        1e-12,
        ("seed",),
    ),
    Check(
        "lora.rank",
        r"\sigma_{r+1}(\Delta W) = 0",
        "Hu et al. (2106.09685), section 4.1",
        _rank,
        1e-12,
        ("seed",),
    ),
    Check(
        "lora.truncated",
        r"\|\Delta W - \Delta W_k\|_F = (\sum_{i > k} \sigma_i^2)^{1/2}",
        "Eckart and Young (1936)",
        _truncated,
        1e-10,
        ("seed",),
    ),
)
