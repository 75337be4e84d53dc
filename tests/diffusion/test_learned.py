"""Networks that learn to be quantized, and what is left of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from studio.diffusion.exported import pack, tables, unpack
from studio.diffusion.learned import LearnedClip, LearnedStep, TimedStep, clip_penalty, ready
from studio.diffusion.observe import layers_of, plan, record
from studio.diffusion.quantize import fake_quantize, lsq, lsq_gradient_scale, mse_search, symmetric, unsigned
from studio.diffusion.quantizers import QuantizedLayer, TableQuantizer
from studio.diffusion.tdq import StepNetwork, fourier_codes
from tests.quant.networks import asked, own_network

T = 1000
METHODS = ("lsq", "tdq", "pact", "nipq")


@pytest.fixture(scope="module")
def base() -> tuple[nn.Module, Any, Any, Any]:
    net, calls = own_network()
    chosen = plan(net, calls[0])
    return net, chosen, record(net, chosen, calls, T), calls


def made(base: tuple[nn.Module, Any, Any, Any], method: Any, bits: tuple[int, int] = (4, 4)) -> nn.Module:
    torch.manual_seed(1)
    return ready(base[0], base[1], base[2], method, *bits, fourier_codes(T))


def trained(net: nn.Module, calls: Any, steps: int = 5) -> nn.Module:
    """A few steps that change everything that learns."""
    optimizer = torch.optim.Adam(net.train().parameters(), 3e-3)
    for step in range(steps):
        (x, t, labels), _ = calls[step]
        torch.manual_seed(step)
        loss = (net(x, t, labels) - x).square().mean() + 1e-3 * clip_penalty(net)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def quantizers(net: nn.Module) -> list[Any]:
    return [part.inputs for part in net.modules() if isinstance(part, QuantizedLayer)]


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_begin_at_the_steps_of_the_smallest_error(base: tuple[nn.Module, Any, Any, Any], method: str):
    net, chosen, seen, _ = base
    layers, learning = layers_of(net), made(base, method)
    for site in chosen.sites:
        (part,) = seen[site.name]
        values, shares, low, high = part.pooled()
        s, z = mse_search(values, unsigned(4), low, high, weights=shares)
        layer = learning.get_submodule(site.name)
        assert isinstance(layer, QuantizedLayer)
        steps: Any = layer.inputs.steps(T)  # type: ignore[operator]
        assert layer.inputs.z == min(float(z), 14.0 if method in ("pact", "nipq") else 15.0)
        assert torch.allclose(steps, s.expand(T), rtol=0.2 if method == "tdq" else 1e-5)
        w, _ = mse_search(layers[site.name].weight.reshape(1, -1), symmetric(4))
        assert float(layer.weights.steps(1)) == pytest.approx(float(w))  # type: ignore[operator, union-attr]
    assert not layers[chosen.sites[0].name].weight.requires_grad  # the given network is left alone


@pytest.mark.parametrize("method", METHODS)
def test_everything_learns_and_no_step_falls_to_zero(base: tuple[nn.Module, Any, Any, Any], method: str):
    learning = made(base, method)
    before = {name: value.detach().clone() for name, value in learning.named_parameters()}
    after = trained(learning, base[3])
    moved = [name for name, value in after.named_parameters() if not torch.equal(value, before[name])]
    # the label that stands for none was not told
    assert {name for name in before if ".inputs." in name or ".weights." in name} <= {*moved}
    assert all(bool((one.steps(T) > 0).all()) for one in quantizers(after))


def test_a_step_that_learns_has_lsq_s_gradient_and_scale():
    x = torch.randn(500, generator=torch.Generator().manual_seed(0))
    module = LearnedStep(0.3, 4.0, unsigned(4), 500).train()
    module(x).sum().backward()
    s = torch.tensor(0.3, requires_grad=True)
    lsq(x, s, 4.0, unsigned(4)).sum().backward()
    assert module.ratio.grad is not None and s.grad is not None
    expected = 0.3 * float(s.grad) * lsq_gradient_scale(500, unsigned(4))
    assert float(module.ratio.grad) == pytest.approx(expected, rel=1e-4)


def test_each_sample_of_a_batch_is_rounded_by_the_step_of_its_time(base: tuple[nn.Module, Any, Any, Any]):
    learning = trained(made(base, "tdq"), base[3])
    one = quantizers(learning)[0]
    assert isinstance(one, TimedStep)
    x, one.clock.t = torch.randn(2, 3, 4, 4), torch.tensor([3, 990])
    steps = one.steps(T)
    assert steps[3] != steps[990]
    expected = [fake_quantize(x[i], steps[t], one.z, one.grid) for i, t in enumerate((3, 990))]
    assert torch.equal(one(x), torch.stack(expected))


def test_nipq_is_noisy_in_training_and_rounds_afterwards():
    module, x = LearnedClip(0.1, 3.0, unsigned(4), noisy=True), torch.randn(2000)
    noisy, rounded = module.train()(x), module.eval()(x)
    assert len(noisy.unique()) > 1000 and len(rounded.unique()) <= 16
    assert float((noisy.detach() - x.clamp(-0.3, 1.2)).abs().max()) <= 0.05 + 1e-6
    pact = LearnedClip(0.1, 3.0, unsigned(4), noisy=False)
    assert torch.allclose(pact.train()(x), pact.eval()(x))


def test_pact_s_penalty_counts_its_clips_alone(base: tuple[nn.Module, Any, Any, Any]):
    assert float(clip_penalty(made(base, "pact")).detach()) == pytest.approx(len(base[1].sites))
    assert float(clip_penalty(made(base, "lsq"))) == 0


@pytest.mark.parametrize("bits", [(4, 4), (3, 3), (8, 4)])
@pytest.mark.parametrize("method", ["lsq", "tdq"])
def test_what_is_packed_computes_the_same_without_step_networks(
    base: tuple[nn.Module, Any, Any, Any], method: str, bits: tuple[int, int]
):
    learned = trained(made(base, method, bits), base[3])
    tensors = load(save(pack(learned, T)))
    back = unpack(base[0], tensors, *bits, T)
    assert not any(isinstance(part, StepNetwork | LearnedStep) for part in back.modules())
    for mine, theirs in zip(quantizers(learned), quantizers(back), strict=True):
        assert isinstance(theirs, TableQuantizer)
        assert torch.equal(theirs.steps, mine.steps(T))  # the table is the network, bit by bit
    for name, part in learned.named_modules():
        if isinstance(part, QuantizedLayer):
            rounded = part.weights(part.weight)  # type: ignore[misc]
            assert torch.equal(back.get_submodule(name).weight, rounded.detach())
    in_half = [
        value for name, value in learned.named_parameters() if ".inputs." not in name and ".weights." not in name
    ]
    wrapped = {id(part.weight) for part in learned.modules() if isinstance(part, QuantizedLayer)}
    for value in in_half:
        if id(value) not in wrapped:
            value.data = value.half().float()
    for call in (base[3][0], base[3][-1]):
        assert torch.equal(asked(learned, call), asked(back, call))


def test_low_bits_are_packed_two_to_a_byte(base: tuple[nn.Module, Any, Any, Any]):
    sizes = {}
    for bits in (4, 8):
        tensors = pack(made(base, "lsq", (bits, 4)), T)
        sizes[bits] = sum(value.numel() for name, value in tensors.items() if name.endswith(".levels"))
    assert sizes[8] == sum(base[0].get_submodule(site.name).weight.numel() for site in base[1].sites)
    assert sizes[4] == pytest.approx(sizes[8] / 2, rel=0.01)


def test_a_step_that_is_the_same_at_all_times_is_packed_once(base: tuple[nn.Module, Any, Any, Any]):
    for method, length in (("lsq", 1), ("tdq", T)):
        tensors = pack(made(base, method), T)
        found = tables(tensors, T)
        assert {*found} == {site.name for site in base[1].sites}
        assert all(len(tensors[f"{name}.table"]) == length and len(found[name]) == T for name in found)


def test_a_network_that_knows_other_times_is_refused():
    module = TimedStep(StepNetwork(fourier_codes(10), 0.1), 0.0, unsigned(4), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="knows 10 times"):
        module.steps(T)
