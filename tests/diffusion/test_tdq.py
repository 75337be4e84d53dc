from __future__ import annotations

import math

import pytest
import torch

from studio.diffusion.tdq import (
    StepNetwork,
    fourier_codes,
    interval_codes,
    inverse_softplus,
    raw_codes,
    shuffled,
    table,
)

T = 1000


def network(s0: float = 0.05, depth: int = 4, seed: int = 0, codes: torch.Tensor | None = None) -> StepNetwork:
    torch.manual_seed(seed)
    return StepNetwork(fourier_codes(T) if codes is None else codes, s0, depth)


def taught(module: StepNetwork, wanted: torch.Tensor, steps: int = 400, rate: float = 3e-3) -> float:
    """The relative error that is left after learning a curve s(t)."""
    optimizer, t = torch.optim.Adam(module.parameters(), rate), torch.arange(T)
    for _ in range(steps):
        loss = (module.train()(t) / wanted - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float((table([module])[0] / wanted - 1).abs().mean())


def test_the_code_is_the_papers_waves():
    codes = fourier_codes(T, 8)
    for t in (0, 3, 999):
        waves = [t / 10_000 ** (2 * i / 8) for i in range(4)]
        expected = [*map(math.sin, waves), *map(math.cos, waves)]
        assert codes[t].tolist() == pytest.approx(expected, abs=1e-6)
    assert len(codes.unique(dim=0)) == T


@pytest.mark.parametrize("dim", [0, 3])
def test_a_code_of_a_width_that_makes_no_pairs_is_refused(dim: int):
    with pytest.raises(ValueError, match="dim must be even"):
        fourier_codes(T, dim)


@pytest.mark.parametrize("s", [1e-6, 0.05, 1.0, 30.0])
def test_softplus_s_inverse(s: float):
    assert float(torch.nn.functional.softplus(torch.tensor(inverse_softplus(s)).double())) == pytest.approx(s, rel=1e-6)


def test_a_step_that_is_not_above_zero_is_refused():
    with pytest.raises(ValueError, match="s must be above 0"):
        inverse_softplus(0.0)


@pytest.mark.parametrize("depth", [1, 2, 4, 6])
@pytest.mark.parametrize("s0", [0.003, 0.05, 2.0])
def test_it_begins_near_s0_at_every_time(depth: int, s0: float):
    found = table([network(s0, depth)])
    assert found.shape == (1, T) and bool((found > 0).all())
    assert float((found / s0 - 1).abs().max()) < 0.15


def test_it_has_as_many_linear_layers_as_its_depth():
    for depth in (1, 2, 4, 6):
        assert sum(isinstance(part, torch.nn.Linear) for part in network(depth=depth).modules()) == depth


def test_the_table_is_the_network_bit_by_bit_at_every_time_alone():
    module = network(seed=3)
    taught(module, 0.05 + 0.04 * torch.arange(T) / T, steps=20)
    found = table([module])[0]
    with torch.no_grad():
        alone = torch.cat([module.eval()(torch.tensor([t])) for t in range(T)])
        assert torch.equal(found, alone)
        assert torch.equal(found[[5, 5, 999]], module(torch.tensor([5, 5, 999])))


def test_training_computes_the_same_within_float32_and_the_mode_is_left():
    module = network().train()
    rounded = module(torch.arange(T))
    assert torch.allclose(table([module])[0], rounded, rtol=1e-5)
    assert module.training


def test_each_sample_has_the_step_of_its_own_time():
    module = network(seed=1)
    steps = module(torch.tensor([10, 900]))
    assert torch.equal(steps[:1], module(torch.tensor([10]))) and steps[0] != steps[1]


def test_it_learns_a_curve_over_the_time():
    wanted = 0.02 * torch.exp(2 * torch.arange(T) / T)
    assert taught(network(0.05), wanted) < 0.02


def test_shuffled_codes_learn_only_by_heart():
    """The times that were seen say nothing of those between them."""
    wanted = 0.02 * torch.exp(2 * torch.arange(T) / T)
    seen = torch.arange(0, T, 20)
    left = {}
    for name, codes in (("fourier", fourier_codes(T)), ("shuffled", shuffled(fourier_codes(T), 0))):
        module = network(0.05, codes=codes)
        optimizer = torch.optim.Adam(module.parameters(), 3e-3)
        for _ in range(300):
            loss = (module.train()(seen) / wanted[seen] - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        left[name] = float((table([module])[0] / wanted - 1).abs().mean())
    assert left["fourier"] < 0.1 < left["shuffled"]


def test_intervals_are_free_numbers():
    codes = interval_codes(T, 4)
    assert torch.equal(codes.argmax(1), torch.arange(T) // 250) and torch.equal(codes.sum(1), torch.ones(T))
    wanted = torch.tensor([0.1, 0.02, 0.3, 0.05]).repeat_interleave(250)
    assert taught(network(0.05, 1, codes=codes), wanted, rate=3e-2) < 0.01
    with pytest.raises(ValueError, match="count must be from 1"):
        interval_codes(T, 0)


def test_the_raw_time_is_one_number():
    assert raw_codes(T).shape == (T, 1) and float(raw_codes(T)[500]) == 0.5
