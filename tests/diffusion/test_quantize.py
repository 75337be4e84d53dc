from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.diffusion.quantize import (
    Grid,
    fake_quantize,
    lsq,
    lsq_gradient_scale,
    min_max,
    mse_search,
    nipq,
    pact,
    quantized,
    round_straight_through,
    scaled_gradient,
    symmetric,
    unsigned,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_grids_are_the_papers(bits: int):
    assert unsigned(bits) == Grid(0, 2**bits - 1) and unsigned(bits).levels == 2**bits
    assert symmetric(bits) == Grid(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1)
    assert symmetric(bits).levels == 2**bits - 1


@pytest.mark.parametrize("bits", [1, 0, 17])
def test_bits_that_make_no_grid_are_named(bits: int):
    with pytest.raises(ValueError, match=f"bits must be from 2 to 16; it is {bits}"):
        unsigned(bits)


@settings(max_examples=60, deadline=None)
@given(bits=st.integers(2, 8), s=st.floats(1e-3, 10), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_inside_the_range_the_error_is_at_most_half_a_step(bits: int, s: float, share: float, seed: int):
    grid = unsigned(bits)
    z = round(share * grid.high)
    x = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = s * (grid.low - z) + x * s * (grid.high - grid.low)
    found = fake_quantize(x, s, z, grid)
    assert float((found - x).abs().max()) <= s / 2 * (1 + 1e-9)
    assert len(quantized(x, s, z, grid).unique()) <= 2**bits
    outside = fake_quantize(torch.tensor([-1e9, 1e9], dtype=torch.float64), s, z, grid)
    assert outside.tolist() == pytest.approx([s * (grid.low - z), s * (grid.high - z)])


def test_zero_stays_zero_and_halves_go_to_even():
    x = torch.tensor([0.0, 0.5, 1.5, -0.5, -1.5])
    assert fake_quantize(x, 1.0, 5.0, unsigned(4)).tolist() == [0, 0, 2, 0, -2]
    assert x.tolist() == [0.0, 0.5, 1.5, -0.5, -1.5]  # what comes in is left alone


def test_torch_s_own_fake_quantization_is_the_same():
    x, s, z = normal(64, 8).float(), torch.full((64,), 0.125), torch.full((64,), 6, dtype=torch.int32)
    own = torch.fake_quantize_per_channel_affine(x, s, z, 0, 0, 15)
    assert torch.equal(fake_quantize(x, s[:, None], z[:, None], unsigned(4)), own)


def test_rounding_passes_the_gradient_straight_through():
    x = normal(50).requires_grad_()
    y = round_straight_through(x)
    y.backward(torch.arange(50, dtype=torch.float64))
    assert x.grad is not None
    assert torch.equal(y, x.round()) and x.grad.tolist() == list(range(50))


@pytest.mark.parametrize(("grid", "z"), [(unsigned(3), 0.0), (unsigned(3), 3.0), (symmetric(4), 0.0)])
def test_lsq_s_gradients_are_its_definition(grid: Grid, z: float):
    x, s = (3 * normal(400)).requires_grad_(), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    y = lsq(x, s, z, grid)
    assert torch.equal(y.detach(), fake_quantize(x.detach(), 0.3, z, grid))
    weights = normal(400, seed=1)
    y.backward(weights)
    v = x.detach() / 0.3
    below, above = v < grid.low - z, v > grid.high - z
    of_s = torch.where(below, grid.low - z, torch.where(above, grid.high - z, v.round() - v))
    assert s.grad is not None and x.grad is not None
    assert float(s.grad) == pytest.approx(float((weights * of_s).sum()))
    assert torch.equal(x.grad, torch.where(below | above, 0.0, weights))


def test_lsq_s_gradients_are_those_of_a_clip_and_a_straight_through_rounding():
    x, weights = 3 * normal(6, 40), normal(6, 40, seed=1)
    for steps in (torch.full((6, 1), 0.4, dtype=torch.float64), torch.rand(6, 1, dtype=torch.float64) + 0.1):
        grads = []
        for by_hand in (False, True):
            one, s = x.clone().requires_grad_(), steps.clone().requires_grad_()
            y = lsq(one, s, 4.0, unsigned(4)) if not by_hand else s * round_straight_through((one / s).clamp(-4, 11))
            grads.append(torch.autograd.grad(y, (one, s), weights))
        for mine, autograd in zip(*grads, strict=True):
            assert torch.allclose(mine, autograd)


def test_lsq_s_gradient_scale_is_the_papers_and_leaves_the_value():
    assert lsq_gradient_scale(400, unsigned(2)) == pytest.approx(1 / (400 * 3) ** 0.5)
    s = torch.tensor(0.3, requires_grad=True)
    scaled = scaled_gradient(s, 0.01)
    scaled.backward()
    assert s.grad is not None
    assert float(scaled.detach()) == pytest.approx(0.3) and float(s.grad) == pytest.approx(0.01)


@pytest.mark.parametrize("z", [0.0, 3.0])
def test_pact_cuts_at_alpha_and_learns_only_from_what_it_cut(z: float):
    alpha, grid = torch.tensor(1.5, dtype=torch.float64, requires_grad=True), unsigned(3)
    x = (2 * normal(500)).requires_grad_()
    y = pact(x, alpha, z, grid)
    weights = normal(500, seed=2)
    y.backward(weights)
    share = z / (7 - z)
    above, below = x.detach() > 1.5, x.detach() < -1.5 * share
    assert alpha.grad is not None and x.grad is not None
    assert float(alpha.grad) == pytest.approx(float(weights[above].sum() - share * weights[below].sum()))
    assert torch.equal(x.grad, torch.where(above | below, 0.0, weights))
    assert torch.allclose(y.detach(), fake_quantize(x.detach(), 1.5 / (7 - z), z, grid))


def test_nipq_adds_noise_within_half_a_step_and_its_step_learns():
    alpha, grid, x = torch.tensor(1.5, dtype=torch.float64, requires_grad=True), unsigned(4), 2 * normal(20_000)
    x.requires_grad_()
    y = nipq(x, alpha, 0.0, grid, torch.Generator().manual_seed(3))
    clipped = x.detach().clamp(0, 1.5)
    u = (y.detach() - clipped) / (1.5 / 15)
    assert float(u.abs().max()) <= 0.5 + 1e-9
    assert float(u.mean()) == pytest.approx(0, abs=0.01) and float(u.var()) == pytest.approx(1 / 12, rel=0.03)
    y.sum().backward()
    assert alpha.grad is not None and x.grad is not None
    assert float(alpha.grad) == pytest.approx(float((x > 1.5).sum() + u.sum() / 15))
    assert torch.equal(x.grad, ((x > 0) & (x < 1.5)).double())


def test_a_cut_without_a_level_above_zero_is_refused():
    with pytest.raises(ValueError, match="z must be from 0 to 6"):
        pact(normal(3), torch.tensor(1.0), 7.0, unsigned(3))


@settings(max_examples=40, deadline=None)
@given(low=st.floats(-9, 9), span=st.floats(0, 9), bits=st.integers(2, 8))
def test_min_max_holds_the_range_and_zero(low: float, span: float, bits: int):
    grid = unsigned(bits)
    s, z = min_max(torch.tensor([low]).double(), torch.tensor([low + span]).double(), grid)
    ends = float(s * (grid.low - z)), float(s * (grid.high - z))
    assert ends[0] <= min(low, 0) + float(s) / 2 + 1e-9 and ends[1] >= max(low + span, 0) - float(s) / 2 - 1e-9
    assert float(z) == round(float(z)) and grid.low <= float(z) <= grid.high


def test_min_max_of_a_symmetric_grid_has_its_zero_in_the_middle():
    s, z = min_max(torch.tensor([-3.0]), torch.tensor([1.0]), symmetric(3))
    assert (float(s), float(z)) == (1.0, 0.0)


@pytest.mark.parametrize("grid", [unsigned(4), symmetric(4)])
def test_no_share_of_the_range_has_a_smaller_error_than_the_one_found(grid: Grid):
    x = normal(3, 4_000) * torch.tensor([[1.0], [5.0], [0.1]], dtype=torch.float64)
    s, z = mse_search(x, grid)
    for row in range(3):
        best = float((fake_quantize(x[row], s[row], z[row], grid) - x[row]).square().mean())
        for share in torch.linspace(0.0125, 1, 80):
            of_share, zero = min_max(x[row].min()[None] * share, x[row].max()[None] * share, grid)
            error = (fake_quantize(x[row], of_share, zero, grid) - x[row]).square().mean()
            assert best <= float(error) * (1 + 1e-6)


def test_the_step_that_is_found_for_a_normal_is_max_s_optimum():
    """Max (1960), table II: the best uniform quantizer of N(0, 1) has a step of 0.3352 at 16 levels, and error 0.01154
    with its levels midway; with a level on zero it is a little worse."""
    s, z = mse_search(normal(1, 200_000), unsigned(4))
    error = float((fake_quantize(normal(1, 200_000), s[:, None], z[:, None], unsigned(4)) - normal(1, 200_000)).var())
    assert float(s) == pytest.approx(0.3352, rel=0.06)
    assert 0.0115 < error < 0.0125


def test_with_the_zero_level_given_the_step_alone_is_looked_for():
    x, z = normal(2, 2_000).abs(), torch.tensor([0.0, 5.0], dtype=torch.float64)
    s, kept = mse_search(x, unsigned(4), z=z)
    assert torch.equal(kept, z)
    assert float(s[0]) < float(s[1])  # with fewer levels above zero the step is larger
