from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from studio.diffusion.vae import Autoencoder, kl_to_standard_normal, reparameterise, vae_loss


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_kl_is_torch_s():
    mean, logvar = normal(6, 3), normal(6, 3, seed=1)
    theirs = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(kl_to_standard_normal(mean, logvar), theirs)


def test_the_kl_is_its_monte_carlo_mean():
    mean, logvar = torch.tensor([[0.7, -1.2]]), torch.tensor([[-1.0, 0.4]])
    law, standard = Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)
    z = mean + (logvar / 2).exp() * normal(200_000, 2).float()
    sampled = (law.log_prob(z) - standard.log_prob(z)).sum(1)
    error = float(sampled.std()) / math.sqrt(len(z))
    assert abs(float(sampled.mean() - kl_to_standard_normal(mean, logvar))) < 4 * error


def test_the_gradient_reaches_mean_and_logvar():
    mean, logvar, eps = normal(2, 3), normal(2, 3, seed=1), normal(2, 3, seed=2)
    inputs = (mean.requires_grad_(True), logvar.requires_grad_(True))
    assert torch.autograd.gradcheck(lambda m, v: reparameterise(m, v, eps), inputs)


def test_a_code_cut_from_its_mean_brings_no_gradient():
    mean, logvar = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    assert not reparameterise(mean.detach(), logvar.detach(), torch.ones(1, 2)).requires_grad


def test_scale_0_is_the_mean_itself_and_scale_grows_the_spread():
    mean, logvar, eps = normal(2, 3), normal(2, 3, seed=1), normal(2, 3, seed=2)
    assert reparameterise(mean, logvar, eps, 0) is mean
    near, far = (reparameterise(mean, logvar, eps, scale) - mean for scale in (1.0, 2.5))
    assert torch.allclose(far, 2.5 * near)


def test_the_loss_is_the_bound_of_a_unit_gaussian_decoder():
    x, decoded, mean, logvar = (
        normal(4, 3, 2, 2),
        normal(4, 3, 2, 2, seed=1),
        normal(4, 2, seed=2),
        normal(4, 2, seed=3),
    )
    reconstruction, kl = vae_loss(x, decoded, mean, logvar)
    log_prob = Normal(decoded, 1.0).log_prob(x).sum((1, 2, 3)).mean() + 6 * math.log(2 * math.pi)
    assert float(reconstruction) == pytest.approx(-float(log_prob))
    assert float(kl) == pytest.approx(float(kl_to_standard_normal(mean, logvar).mean()))
    assert float(vae_loss(x, decoded, mean, logvar, 0.5)[1]) == pytest.approx(0.5 * float(kl))


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize(("side", "channels", "code"), [(8, 1, 2), (32, 3, 2), (16, 3, 16)])
def test_shapes_and_range(variational: bool, side: int, channels: int, code: int):
    net = Autoencoder(side, channels, code, width=4, variational=variational)
    x = torch.randn(3, channels, side, side)
    decoded, mean, logvar = net(x)
    assert decoded.shape == x.shape and mean.shape == logvar.shape == (3, code)
    assert decoded.abs().max() <= 1
    assert net.decode(mean).shape == x.shape


def test_a_plain_autoencoder_has_no_spread_and_no_kl():
    net, x = Autoencoder(8, 1, width=4, variational=False), torch.randn(2, 1, 8, 8)
    decoded, mean, logvar = net(x)
    assert torch.equal(decoded, net.decode(mean)) and (logvar.exp() == 0).all()
    assert vae_loss(x, decoded, mean, logvar, kl_weight=0)[1] == 0


@pytest.mark.parametrize("side", [0, 4, 12, 33])
def test_a_side_that_does_not_divide_is_named(side: int):
    with pytest.raises(ValueError, match=f"multiple of 8, and at least 8; it is {side}"):
        Autoencoder(side)


@pytest.mark.parametrize(("kl_weight", "low", "high"), [(0.0, 0.0, 0.3), (1.0, 0.3, 1.1)])
def test_without_the_kl_the_spread_collapses(kl_weight: float, low: float, high: float):
    """An encoder that may choose its sigma makes it small as soon as nothing holds it up."""
    torch.manual_seed(0)
    encoder, decoder, x = torch.nn.Linear(4, 4), torch.nn.Linear(2, 4), 0.7 * torch.randn(256, 4)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 0.02)
    for _ in range(400):
        mean, logvar = encoder(x).chunk(2, 1)
        decoded = decoder(reparameterise(mean, logvar, torch.randn_like(mean)))
        loss = sum(vae_loss(x, decoded, mean, logvar, kl_weight))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        mean, logvar = encoder(x).chunk(2, 1)
        assert low <= float((0.5 * logvar).exp().mean()) <= high
        assert F.mse_loss(decoder(mean), x) < x.var()
