from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from studio.diffusion.lora import (
    LowRank,
    delta_norms,
    initial,
    merged,
    parameters,
    patched,
    spectrum,
    truncated,
    unmerged,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


W, X = normal(12, 10), normal(3, 5, 10, seed=1)
PATCH = LowRank(normal(4, 10, seed=2), normal(12, 4, seed=3), alpha=8.0)


def test_an_untrained_patch_changes_nothing_bit_for_bit():
    weight, x = W.float(), X.float()
    assert torch.equal(patched(x, weight, initial(12, 10, 4, 8.0)), F.linear(x, weight))


def test_a_is_gaussian_and_b_is_zero_at_first():
    patch = initial(512, 512, 16, 16.0, torch.Generator().manual_seed(0))
    assert float(patch.down.var()) == pytest.approx(1 / 16, rel=0.05) and patch.up.abs().max() == 0


def test_the_patch_is_alpha_over_r_b_a():
    by_sums = 2.0 * sum(torch.outer(PATCH.up[:, i], PATCH.down[i]) for i in range(4))
    assert torch.allclose(PATCH.delta(), by_sums)


def test_merged_and_unmerged_compute_the_same():
    assert torch.allclose(F.linear(X, merged(W, PATCH, 0.7)), patched(X, W, PATCH, 0.7))


def test_in_float32_they_agree_within_1e_5():
    patch = LowRank(PATCH.down.float(), PATCH.up.float(), 8.0)
    beside, inside = patched(X.float(), W.float(), patch), F.linear(X.float(), merged(W.float(), patch))
    assert float((beside - inside).abs().max() / beside.abs().max()) < 1e-5


def test_a_merged_patch_comes_off_again():
    assert torch.allclose(unmerged(merged(W, PATCH, 0.3), PATCH, 0.3), W, atol=1e-13)


def test_scale_0_is_the_base_bit_for_bit():
    assert torch.equal(patched(X, W, PATCH, 0.0), F.linear(X, W))


def test_peft_computes_the_same():
    from peft import LoraConfig, get_peft_model

    base = nn.Sequential(nn.Linear(10, 12, bias=False)).double()
    base[0].weight.data.copy_(W)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["0"])).double()
    layer = model.base_model.model[0]
    layer.lora_A["default"].weight.data.copy_(PATCH.down)
    layer.lora_B["default"].weight.data.copy_(PATCH.up)
    assert torch.allclose(model(X), patched(X, W, PATCH))


def test_the_rank_is_seen_in_the_spectrum():
    s = spectrum(PATCH.delta())
    assert (s[:4] > 1e-3).all() and (s[4:] < 1e-12).all()


@settings(max_examples=30, deadline=None)
@given(rank=st.integers(1, 10), seed=st.integers(0, 1000))
def test_no_patch_of_its_rank_is_nearer_than_the_truncated_one(rank: int, seed: int):
    delta = normal(12, 10, seed=seed)
    best = truncated(delta, rank)
    lost = float((delta - best.delta()).norm())
    assert best.rank == rank
    assert lost == pytest.approx(float(spectrum(delta)[rank:].norm()), abs=1e-10)
    down = normal(rank, 10, seed=seed + 1)
    rival = delta @ torch.linalg.pinv(down) @ down  # the best one with these rows
    assert lost <= float((delta - rival).norm()) + 1e-10


@pytest.mark.parametrize("rank", [0, 11])
def test_a_rank_out_of_bounds_is_named(rank: int):
    with pytest.raises(ValueError, match=f"rank must be from 1 to 10; it is {rank}"):
        truncated(W, rank)


def test_matrices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        LowRank(normal(4, 10), normal(12, 3), 8.0)


def test_the_norms_are_numpy_s():
    import numpy as np

    norms, delta = delta_norms(PATCH.delta(), W), PATCH.delta().numpy()
    assert norms.frobenius == pytest.approx(np.linalg.norm(delta))
    assert norms.spectral == pytest.approx(np.linalg.norm(delta, 2))
    assert norms.relative == pytest.approx(np.linalg.norm(delta) / np.linalg.norm(W.numpy()))


@pytest.mark.parametrize(("values", "rank"), [([1, 1, 1], 3), ([1, 0, 0], 1), ([0, 0, 0], 0)])
def test_the_effective_rank_counts_directions_of_equal_size(values: list[float], rank: float):
    delta = torch.diag(torch.tensor(values, dtype=torch.float64))
    assert delta_norms(delta, torch.eye(3)).effective_rank == pytest.approx(rank)


def test_a_budget_buys_a_high_rank_on_one_weight_or_a_low_one_on_many():
    one, many = parameters([(320, 320)], 8), parameters([(320, 320)] * 4, 2)
    assert one == many == 8 * 640
