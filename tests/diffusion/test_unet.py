from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from studio.diffusion.blocks import BlockAttention, ConvNeXtBlock, Down, SinusoidalEmbedding, Up
from studio.diffusion.unet import UNet, drop_labels


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_embedding_is_its_formula():
    out = SinusoidalEmbedding(8)(torch.tensor([37.0]))[0].tolist()
    angles = [37 * 10_000 ** (-i / 3) for i in range(4)]
    assert out == pytest.approx([*(math.sin(a) for a in angles), *(math.cos(a) for a in angles)], abs=1e-5)


def test_time_0_is_zeros_then_ones():
    assert SinusoidalEmbedding(6)(torch.zeros(2)).tolist() == [[0, 0, 0, 1, 1, 1]] * 2


def test_no_two_of_4000_times_look_alike():
    embedded = SinusoidalEmbedding(32)(torch.arange(4000))
    nearest = torch.cdist(embedded[::40].double(), embedded.double()).topk(2, largest=False).values[:, 1]
    assert nearest.min() > 0.1


@pytest.mark.parametrize("dim", [0, 2, 5])
def test_a_dim_that_makes_no_pairs_is_named(dim: int):
    with pytest.raises(ValueError, match=f"even and at least 4; it is {dim}"):
        SinusoidalEmbedding(dim)


def test_the_embedding_adds_nothing_to_the_weights_file():
    assert not any("frequencies" in name for name in UNet(8, (1,)).state_dict())


@pytest.mark.parametrize(("inside", "outside"), [(4, 4), (4, 7)])
def test_a_block_hears_the_time_and_keeps_the_size(inside: int, outside: int):
    block, x = ConvNeXtBlock(inside, outside, 6), torch.randn(2, inside, 5, 9)
    early, late = block(x, torch.zeros(2, 6)), block(x, torch.ones(2, 6))
    assert early.shape == (2, outside, 5, 9) and not torch.allclose(early, late)


def test_a_block_adds_what_came_in():
    block, x = ConvNeXtBlock(4, 4, 6), torch.randn(1, 4, 5, 5)
    nn.init.zeros_(block.mix[-1].weight)
    nn.init.zeros_(block.mix[-1].bias)
    assert torch.equal(block(x, torch.zeros(1, 6)), x)


def test_down_sees_all_four_neighbours():
    down, x = Down(1, 4), torch.arange(16.0).reshape(1, 1, 4, 4)
    nn.init.dirac_(down.conv.weight)
    nn.init.zeros_(down.conv.bias)
    assert sorted(down(x)[0, :, 0, 0].tolist()) == [0, 1, 4, 5]
    assert torch.equal(F.pixel_shuffle(down(x), 2), x)


def test_up_is_nearest_and_then_a_convolution():
    up, x = Up(3, 2), torch.randn(1, 3, 2, 3)
    repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(up(x), F.conv2d(repeated, up.conv.weight, up.conv.bias, padding=1))


def test_a_gate_is_within_bounds_and_multiplies():
    attention, x, g = BlockAttention(5, 3), torch.randn(2, 5, 4, 4), torch.randn(2, 3, 4, 4)
    gate = attention.gate(x, g)
    assert gate.shape == (2, 1, 4, 4) and (gate > 0).all() and (gate < 1).all()
    assert torch.equal(attention(x, g), gate * x)


def test_a_gate_that_is_shut_lets_nothing_through():
    attention = BlockAttention(5, 3)
    nn.init.constant_(attention.psi.bias, -1e4)
    assert attention(torch.randn(1, 5, 4, 4), torch.randn(1, 3, 4, 4)).abs().max() == 0


@settings(max_examples=12, deadline=None)
@given(
    mults=st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=4),
    high=st.integers(1, 2),
    wide=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 4]),
    gates=st.booleans(),
    classes=st.sampled_from([0, 5]),
)
def test_what_goes_in_comes_out_in_the_same_shape(
    mults: list[int], high: int, wide: int, channels: int, gates: bool, classes: int
):
    net = UNet(4, mults, channels=channels, gates=gates, classes=classes)
    step = 2 ** (len(mults) - 1)
    x = torch.randn(2, channels, high * step, wide * step)
    labels = torch.tensor([0, 4]) if classes else None
    with torch.no_grad():
        out = net(x, torch.tensor([0, 3999]), labels)
    assert out.shape == x.shape and out.isfinite().all()


@pytest.mark.parametrize(
    ("height", "width", "name", "bad"), [(12, 16, "height", 12), (16, 20, "width", 20), (0, 8, "height", 0)]
)
def test_a_side_that_does_not_divide_is_named(height: int, width: int, name: str, bad: int):
    with pytest.raises(
        ValueError, match=f"{name} must be a multiple of 8, because 4 levels halve it 3 times; it is {bad}"
    ):
        UNet(4, (1, 1, 1, 1))(torch.zeros(1, 3, height, width), torch.tensor([0]))


def test_a_network_without_levels_is_refused():
    with pytest.raises(ValueError, match="at least one level"):
        UNet(4, ())


def test_there_are_two_skips_at_every_level_and_each_of_them_counts():
    net, x, t = UNet(4, (1, 2)), torch.randn(1, 3, 8, 8), torch.tensor([5])
    whole, counted = net(x, t), []
    for block in (block for level in net.ups for block in (level.first, level.second)):
        kept = {name: values.clone() for name, values in block.state_dict().items()}
        skip = slice(block.shortcut.out_channels, None)  # what comes up has so many channels, then the skip's
        block.around.weight.data[skip] = 0
        block.shortcut.weight.data[:, skip] = 0
        counted.append(not torch.allclose(net(x, t), whole))
        block.load_state_dict(kept)
    assert counted == [True] * 4


def test_the_time_changes_the_answer_and_can_be_switched_off():
    x, early, late = torch.randn(1, 3, 8, 8), torch.tensor([3]), torch.tensor([800])
    deaf, hearing = UNet(8, (1, 2), uses_time=False), UNet(8, (1, 2))
    assert not torch.allclose(hearing(x, early), hearing(x, late))
    assert torch.equal(deaf(x, early), deaf(x, late))


def test_each_picture_hears_its_own_time():
    net, x = UNet(8, (1, 2)), torch.randn(2, 3, 8, 8)
    both = net(x, torch.tensor([3, 800]))
    for i, t in enumerate((3, 800)):
        assert torch.allclose(both[i : i + 1], net(x[i : i + 1], torch.tensor([t])), atol=1e-5)


def test_no_label_is_a_label_of_its_own():
    net, x, t = UNet(8, (1,), classes=3), torch.randn(1, 3, 8, 8), torch.tensor([5])
    plain, null, first = net(x, t), net(x, t, torch.tensor([net.null_label])), net(x, t, torch.tensor([0]))
    assert torch.equal(plain, null) and not torch.allclose(plain, first)


def test_every_weight_is_trained():
    net = UNet(8, (1, 2), gates=True, classes=2)
    net(torch.randn(2, 3, 8, 8), torch.tensor([1, 9]), torch.tensor([0, 2])).square().sum().backward()
    idle = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert idle == set()


def test_a_share_of_the_labels_is_dropped():
    labels = torch.arange(4).repeat(2_500)
    dropped = drop_labels(labels, 4, 0.2, torch.Generator().manual_seed(0))
    assert float((dropped == 4).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert torch.equal(dropped[dropped != 4], labels[dropped != 4])
    assert torch.equal(drop_labels(labels, 4, 0.0), labels) and (drop_labels(labels, 4, 1.0) == 4).all()


def test_it_learns_one_picture_s_noise():
    net = UNet(8, (1, 2))
    x, eps = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    first = last = math.inf
    for i in range(60):
        loss = F.mse_loss(net(x, torch.tensor([5, 60])), eps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = (loss.item() if i == 0 else first), loss.item()
    assert last < 0.3 * first
