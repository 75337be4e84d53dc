"""The four small families: what each learns from is right, and what is drawn is repeatable."""

from __future__ import annotations

import pytest
import torch

from studio.diffusion.families import FAMILIES, Flow, Gan
from studio.diffusion.mixture import islands


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_it_draws_points_that_repeat_and_learns_with_all_of_its_weights(name: str):
    torch.manual_seed(0)
    model = FAMILIES[name]()
    one, again = (model.sample(7, torch.Generator().manual_seed(1)) for _ in range(2))
    assert one.shape == (7, 2) and torch.equal(one, again)
    model.loss(islands().sample(16).float()).backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


@pytest.mark.parametrize("name", ["vae", "flow", "ddpm"])
def test_it_comes_nearer_to_the_points(name: str):
    torch.manual_seed(0)
    model, world = FAMILIES[name](), islands()
    x = world.sample(2_000, torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        before = float(model.loss(x))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(x[torch.randint(len(x), (128,))]).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(model.loss(x)) < 0.9 * before


def test_the_flow_s_loss_is_minus_the_logarithm_of_a_density():
    """It integrates to one: what the change of variables promises, on a grid."""
    torch.manual_seed(0)
    flow = Flow()
    line = torch.linspace(-8, 8, 161)
    places = torch.cartesian_prod(line, line)
    with torch.no_grad():
        density = torch.stack([_log_density(flow, part) for part in places.split(161)]).exp()
    assert float(density.sum()) * 0.1**2 == pytest.approx(1, abs=0.02)


def _log_density(flow: Flow, x: torch.Tensor) -> torch.Tensor:
    """log p(x) of each point, by the loss of each alone. (B, 2) -> (B,)"""
    return -torch.func.vmap(lambda place: flow.loss(place[None]))(x) - torch.log(torch.tensor(2 * torch.pi))


def test_the_gan_s_judge_learns_nothing_from_being_fooled():
    """Its gradient is that of judging alone."""
    torch.manual_seed(0)
    gan, x = Gan(), islands().sample(32).float()
    torch.manual_seed(1)
    gan.loss(x).backward()
    both = [p.grad.clone() for p in gan.judge.parameters() if p.grad is not None]
    gan.zero_grad()
    torch.manual_seed(1)
    drawn = gan.draw(torch.randn_like(x)).detach()
    judged = torch.nn.functional.softplus(-gan.judge(x)).mean() + torch.nn.functional.softplus(gan.judge(drawn)).mean()
    judged.backward()
    alone = [p.grad for p in gan.judge.parameters() if p.grad is not None]
    for one, other in zip(both, alone, strict=True):
        torch.testing.assert_close(one, other)
