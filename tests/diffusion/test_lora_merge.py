"""Several patches merged into copies of shared weights; the ledger of a training; one budget in several ways."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from studio.diffusion.lora import factor_spectrum, factored, spectrum, truncated
from studio.diffusion.lora_budget import spend
from studio.diffusion.lora_ledger import full_ledger, lora_ledger, measured_ledger
from studio.diffusion.lora_merge import Factors, Strength, modules_of, put_on


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Flatten(), nn.Linear(6 * 16, 5))


def factors(weight: torch.Tensor, rank: int, seed: int) -> Factors:
    g = torch.Generator().manual_seed(seed)
    ones = [1] * (weight.ndim - 2)
    return Factors(
        torch.randn(rank, *weight.shape[1:], generator=g), torch.randn(weight.shape[0], rank, *ones, generator=g)
    )


def test_merged_is_unmerged_and_the_shared_weight_is_never_written():
    base = network()
    kept = [parameter.clone() for parameter in base.parameters()]
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    one = {"0": factors(base[0].weight, 2, 1), "2": factors(base[2].weight, 3, 2)}
    two = {"2": factors(base[2].weight, 1, 3)}
    clone = network()
    for own, shared in zip(clone.parameters(), base.parameters(), strict=True):
        own.data = shared.data
    part = put_on(clone, "unet", {"one": one, "two": two})
    part.merge({"one": Strength(0.5), "two": Strength(2.0)})
    # a convolution with the patch: down with its kernel, up with one of a pixel
    inside = base[0](x) + 0.5 * F.conv2d(F.conv2d(x, one["0"].down, padding=1), one["0"].up)
    flat = inside.flatten(1)
    expected = base[2](flat)
    for scale, patch in ((0.5, one["2"]), (2.0, two["2"])):
        expected = expected + scale * flat @ patch.down.T @ patch.up.T
    torch.testing.assert_close(clone(x), expected, rtol=1e-5, atol=1e-4)
    part.merge({})
    assert torch.equal(clone(x), base(x))
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), kept, strict=True))


def test_a_factor_of_a_block_and_a_rank_act():
    strength = Strength(0.5, (("mid_block", 0.0), ("unet.other", 2.0)))
    assert (strength.within("mid_block"), strength.within("unet.other"), strength.within("up_blocks.0")) == (0, 1, 0.5)
    clone, base = network(), network()
    patch = factors(base[2].weight, 4, 5)
    put_on(clone, "unet", {"one": {"2": patch}}).merge({"one": Strength(1.0, (), 2)})
    delta = clone[2].weight - base[2].weight
    torch.testing.assert_close(delta, truncated(patch.up @ patch.down, 2).delta(), rtol=1e-4, atol=1e-4)


def test_the_weights_that_a_patch_may_change_are_found():
    assert modules_of({"unet": network()}) == {"unet": {"0": (6, 3, 3, 3), "2": (5, 96)}}


def test_factors_are_cut_as_the_whole_change_is():
    g = torch.Generator().manual_seed(7)
    down, up = torch.randn(6, 30, generator=g), torch.randn(20, 6, generator=g)
    torch.testing.assert_close(factor_spectrum(down, up), spectrum(up @ down)[:6], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(factored(down, up, 3).delta(), truncated(up @ down, 3).delta(), rtol=1e-4, atol=1e-4)


def test_the_formula_of_memory_is_what_a_step_holds():
    layer = nn.Linear(40, 30, bias=False)
    x = torch.randn(16, 40)
    full = measured_ledger([layer.weight], [layer.weight], lambda: layer(x).square().sum())
    formula = full_ledger(40 * 30)
    assert (full.weights, full.gradients, full.adam) == (formula.weights, formula.gradients, formula.adam)
    down, up = nn.Parameter(torch.randn(2, 40)), nn.Parameter(torch.zeros(30, 2))
    frozen = layer.weight.detach()
    patch = measured_ledger([frozen], [down, up], lambda: (F.linear(x, frozen) + x @ down.T @ up.T).square().sum())
    formula = lora_ledger(40 * 30, [(30, 40)], 2)
    assert (patch.weights, patch.gradients, patch.adam) == (formula.weights, formula.gradients, formula.adam)
    assert patch.activations > 0 and patch.total < full.total + patch.activations


def test_one_budget_does_better_spread_than_in_one_matrix():
    found = {one.where: one for one in spend()}
    assert {one.parameters for one in found.values()} == {512}
    assert found["q", "v"].loss < min(found[("q",)].loss, found[("v",)].loss)
    assert found["q", "k", "v", "out"].loss < min(found[("q",)].loss, found[("v",)].loss)
