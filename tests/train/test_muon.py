from __future__ import annotations

import copy

import pytest
import torch

from studio.train.muon import Muon, MuonWithAdamW, orthogonalised


@pytest.mark.parametrize("shape", [(32, 32), (32, 288), (96, 24)])
def test_all_singular_values_come_near_one(shape: tuple[int, int]):
    update = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(update))
    assert values.min() > 0.3 and values.max() < 1.3
    assert values.mean() == pytest.approx(0.9, abs=0.2)


def test_the_directions_stay():
    left, _, right = torch.linalg.svd(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))
    update = left @ torch.diag(torch.linspace(0.5, 2, 16)) @ right
    diagonal = left.T @ orthogonalised(update) @ right.T
    torch.testing.assert_close(diagonal, torch.diag(diagonal.diagonal()), atol=1e-3, rtol=0)


def test_nothing_stays_nothing():
    assert orthogonalised(torch.zeros(4, 8)).abs().max() == 0


def test_a_step_of_a_kernel_has_the_size_of_the_rate_whatever_the_gradient():
    for size in (1e-6, 1.0, 1e6):
        kernel = torch.nn.Parameter(torch.zeros(16, 8, 3, 3))
        kernel.grad = size * torch.randn(kernel.shape, generator=torch.Generator().manual_seed(2))
        Muon([kernel], lr=0.1).step()
        values = torch.linalg.svdvals(kernel.detach().view(16, -1))
        assert values.min() > 0.03 and values.max() < 0.13


def test_what_has_no_gradient_stays():
    still = torch.nn.Parameter(torch.ones(4, 4))
    Muon([still], lr=0.1).step()
    assert (still == 1).all()


def test_it_finds_the_least_squares():
    target = torch.randn(8, 8, generator=torch.Generator().manual_seed(3))
    matrix = torch.nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([matrix], lr=0.05)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 300)
        optimizer.zero_grad()
        (matrix - target).square().sum().backward()
        optimizer.step()
    assert (matrix - target).abs().max() < 0.1


def test_muon_with_adamw_moves_every_parameter_once_and_clears_the_gradients():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = MuonWithAdamW(network, [network[0].weight], muon_rate=0.1, adam_rate=0.01)
    network(torch.ones(1, 4)).square().sum().backward()
    optimizer.step(0.5)
    assert all(p.grad is None for p in network.parameters())
    assert all((p != old).any() for p, old in zip(network.parameters(), before, strict=True))


def test_muon_with_adamw_goes_on_from_its_state():
    def trained(pause: bool) -> torch.Tensor:
        torch.manual_seed(0)
        network = torch.nn.Linear(4, 4)
        optimizer = MuonWithAdamW(network, [network.weight], muon_rate=0.1, adam_rate=0.01)
        for step in range(4):
            network(torch.ones(1, 4)).square().sum().backward()
            optimizer.step(1.0)
            if pause and step == 1:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = MuonWithAdamW(network, [network.weight], muon_rate=0.1, adam_rate=0.01)
                optimizer.load_state_dict(state)
        return network.weight.detach()

    torch.testing.assert_close(trained(pause=True), trained(pause=False))
