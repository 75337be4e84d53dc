"""Checks of what is put beside a frozen network: zero convolutions, low-rank patches and pictures beside the text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.checks.check import Check, Subject, differs, distance
from studio.diffusion import lora
from studio.diffusion.decoupled import decoupled_attention
from studio.diffusion.zero_conv import ControlledBlock, controlled

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


def _trained(on: Subject) -> tuple[list[ControlledBlock], Tensor, Tensor]:
    """Two controls of one convolution that have been trained, a picture and a condition, in float64."""
    first, x, condition = _controlled(on)
    generator = on.generator(19)
    units = [ControlledBlock(first.frozen, 4, 6, 2).double() for _ in range(2)]
    for unit in units:
        for parameter in (*unit.zero_in.parameters(), *unit.zero_out.parameters()):
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return units, x.double(), condition.double()


def _control_off(on: Subject) -> float:
    (unit, _), x, condition = _trained(on)
    return differs(unit(x, condition, 0.0), unit.frozen(x))


def _control_sum(on: Subject) -> float:
    """Two units together, against what each adds alone."""
    (one, two), x, condition = _trained(on)
    base, scales = one.frozen(x), (0.7, 1.6)
    alone = [unit(x, condition, scale) - base for unit, scale in zip((one, two), scales, strict=True)]
    both = controlled(x, [(unit, condition, scale) for unit, scale in zip((one, two), scales, strict=True)])
    return distance(both, base + alone[0] + alone[1])


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


def _attended(on: Subject, scale: float, silent: bool = False) -> Tensor:
    """Places that look at a text and a picture. silent: the picture's values are zero. (1, 2, 9, 8)"""
    g = on.generator(18)
    query, *tokens = (torch.randn(1, 2, n, 8, generator=g, dtype=torch.float64) for n in (9, 6, 6, 4, 4))
    key, value = tokens[2:]
    picture = (key, torch.zeros_like(value) if silent else value)
    return decoupled_attention(query, (tokens[0], tokens[1]), picture, scale)


def _picture_off(on: Subject) -> float:
    g = on.generator(18)
    query, key, value = (torch.randn(1, 2, n, 8, generator=g, dtype=torch.float64) for n in (9, 6, 6))
    return differs(_attended(on, 0.0), F.scaled_dot_product_attention(query, key, value))


def _picture_affine(on: Subject) -> float:
    """Between and beyond the scales 0 and 1."""
    none, full = _attended(on, 0.0), _attended(on, 1.0)
    return max(distance(_attended(on, scale), none + scale * (full - none)) for scale in (0.25, 0.5, 2.0))


def _picture_silent(on: Subject) -> float:
    return max(differs(_attended(on, scale, silent=True), _attended(on, 0.0)) for scale in (0.5, 1.0))


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
        "zero_conv.off",
        r"s = 0 \Rightarrow y_c = F(x) + s\, Z(\cdot) = F(x)",
        "Zhang et al. (2302.05543), eq. 2",
        _control_off,
        0.0,
        ("seed",),
    ),
    Check(
        "zero_conv.sum",
        r"y_c = F(x) + \sum_i s_i\, (y_i - F(x))",
        "Zhang et al. (2302.05543), section 3.4",
        _control_sum,
        1e-12,
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
    Check(
        "ip_adapter.base",
        r"\lambda = 0 \Rightarrow Z = \mathrm{Attention}(Q, K, V)",
        "Ye et al. (2308.06721), eq. 5",
        _picture_off,
        0.0,
        ("seed",),
    ),
    Check(
        "ip_adapter.affine",
        r"Z_\lambda = Z_0 + \lambda (Z_1 - Z_0)",
        "Ye et al. (2308.06721), eq. 5",
        _picture_affine,
        1e-12,
        ("seed",),
    ),
    Check(
        "ip_adapter.empty",
        r"V' = 0 \Rightarrow Z_\lambda = Z_0",
        "Ye et al. (2308.06721), eq. 5",
        _picture_silent,
        0.0,
        ("seed",),
    ),
)
