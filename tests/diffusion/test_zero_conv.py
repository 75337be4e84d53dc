from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from studio.diffusion.zero_conv import ControlledBlock, ZeroConv2d


@pytest.fixture
def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.SiLU(), nn.Conv2d(6, 5, 3, padding=1))


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, 4, 6, 6), torch.randn(2, 3, 6, 6)


def train_a_step(block: ControlledBlock, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    optimiser = torch.optim.SGD([p for p in block.parameters() if p.requires_grad], 0.1)
    (block(*inputs) - 1).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()


def test_a_zero_convolution_is_1_by_1_and_zero():
    conv = ZeroConv2d(3, 5)
    assert conv.weight.shape == (5, 3, 1, 1) and conv(torch.randn(2, 3, 4, 4)).abs().max() == 0


def test_before_training_the_controlled_block_is_the_base_bit_for_bit(base: nn.Module, inputs):  # type: ignore[no-untyped-def]
    expected = copy.deepcopy(base)(inputs[0])
    assert torch.equal(ControlledBlock(base, 4, 5, 3)(*inputs), expected)


def test_zero_weights_have_a_gradient_and_their_input_has_none():
    conv, x = ZeroConv2d(3, 5), torch.randn(2, 3, 4, 4, requires_grad=True)
    conv(x).sum().backward()
    assert conv.weight.grad is not None and x.grad is not None
    assert torch.allclose(conv.weight.grad[:, :, 0, 0], x.detach().sum((0, 2, 3)).expand(5, 3))
    assert x.grad.abs().max() == 0


def test_after_one_step_the_gradient_passes_on(base: nn.Module, inputs):  # type: ignore[no-untyped-def]
    block = ControlledBlock(base, 4, 5, 3)
    train_a_step(block, inputs)
    (block(*inputs) - 1).square().mean().backward()
    assert block.zero_out.weight.abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in block.trained.parameters())


def test_training_leaves_the_base_untouched_and_moves_the_output(base: nn.Module, inputs):  # type: ignore[no-untyped-def]
    before = copy.deepcopy(base)
    block = ControlledBlock(base, 4, 5, 3)
    for _ in range(3):
        train_a_step(block, inputs)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), block.frozen.parameters(), strict=True))
    assert not torch.allclose(block(*inputs), before(inputs[0]))
    assert torch.equal(block(*inputs, scale=0), before(inputs[0]))


def test_the_condition_is_heard_after_two_steps(base: nn.Module, inputs):  # type: ignore[no-untyped-def]
    block = ControlledBlock(base, 4, 5, 3)
    for _ in range(2):
        train_a_step(block, inputs)
    assert not torch.equal(block(inputs[0], inputs[1]), block(inputs[0], -inputs[1]))


def test_scale_is_linear_in_what_is_added(base: nn.Module, inputs):  # type: ignore[no-untyped-def]
    block = ControlledBlock(base, 4, 5, 3)
    train_a_step(block, inputs)
    added = block(*inputs) - block(*inputs, scale=0)
    assert torch.allclose(block(*inputs, scale=0.5) - block(*inputs, scale=0), 0.5 * added, atol=1e-6)
