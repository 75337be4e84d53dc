"""The simulated methods on both kinds of network: the studio's own and diffusers'."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from studio.diffusion.observe import Call, layers_of
from studio.diffusion.quantize import fake_quantize, min_max, mse_search, unsigned
from studio.diffusion.quantizers import DynamicQuantizer, QuantizedLayer, SplitQuantizer, TableQuantizer
from studio.diffusion.seen import Seen
from studio.diffusion.tdq import StepNetwork
from studio.diffusion.unet import UNet
from studio.errors import InvalidInput
from studio.quant.method import Recipe, parse
from studio.quant.simulated import TIMES, plan_of
from studio.quant.simulated_methods import SIMULATED, even_calls, nearest, normal_calls
from tests.quant.networks import asked, diffusers_network, own_network

METHODS = {method.id: method for method in SIMULATED}
STATIC = ("minmax", "mse", "ptq4dm", "q_diffusion")


@pytest.fixture(scope="module", params=[own_network, diffusers_network], ids=["own", "diffusers"])
def made(request: pytest.FixtureRequest) -> tuple[nn.Module, list[Call]]:
    return request.param()


def error(net: nn.Module, other: nn.Module, calls: list[Call]) -> float:
    """The mean squared difference of two networks' answers."""
    return sum(float((asked(net, call) - asked(other, call)).square().mean()) for call in calls) / len(calls)


def quantized_layers(net: nn.Module) -> dict[str, QuantizedLayer]:
    return {name: part for name, part in net.named_modules() if isinstance(part, QuantizedLayer)}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_rounds_a_copy_and_leaves_the_network(made: tuple[nn.Module, list[Call]], name: str):
    net, calls = made
    before, hooks = copy.deepcopy(net.state_dict()), len(net._forward_pre_hooks)
    at8 = METHODS[name].apply(net, Recipe(8, 8, calls))
    at3 = METHODS[name].apply(net, Recipe(8, 3, calls))
    assert type(at8) is type(net)
    power = sum(float(asked(net, call).square().mean()) for call in calls) / len(calls)
    assert 0 < error(net, at8, calls) < error(net, at3, calls)
    assert error(net, at8, calls) < 0.01 * power
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not quantized_layers(net) and len(net._forward_pre_hooks) == hooks
    assert not any(part._forward_hooks for part in net.modules())


def test_weights_have_few_levels_in_each_channel_and_kept_layers_are_untouched(made: tuple[nn.Module, list[Call]]):
    net, calls = made
    rounded = METHODS["mse"].apply(net, Recipe(3, 8, calls))
    layers, chosen = layers_of(net), plan_of(rounded)
    assert chosen is not None
    for name, part in quantized_layers(rounded).items():
        rows = part.weight.flatten(1)
        assert max(len(row.unique()) for row in rows) <= 8
        s, z = mse_search(layers[name].weight.flatten(1), unsigned(3))
        assert torch.equal(rows, fake_quantize(layers[name].weight.flatten(1), s[:, None], z[:, None], unsigned(3)))
    for name in chosen.kept:
        kept = rounded.get_submodule(name)
        assert not isinstance(kept, QuantizedLayer) and torch.equal(kept.weight, layers[name].weight)


def test_a_skip_has_a_quantizer_of_its_own_in_q_diffusion_alone(made: tuple[nn.Module, list[Call]]):
    net, calls = made
    split = quantized_layers(METHODS["q_diffusion"].apply(net, Recipe(8, 4, calls)))
    names = {name for name, part in split.items() if isinstance(part.inputs, SplitQuantizer)}
    own = {
        f"ups.{i}.{block}.{part}" for i in (0, 1) for block in ("first", "second") for part in ("around", "shortcut")
    }
    own |= {"final.around", "final.shortcut"}
    theirs = {f"up_blocks.{i}.resnets.{j}.conv_shortcut" for i in (0, 1) for j in (0, 1)}
    assert names == (own if isinstance(net, UNet) else theirs)
    whole = quantized_layers(METHODS["mse"].apply(net, Recipe(8, 4, calls)))
    assert not any(isinstance(part.inputs, SplitQuantizer) for part in whole.values())


def test_both_halves_of_a_skip_are_rounded_in_their_own_range():
    net, calls = own_network()
    part = quantized_layers(METHODS["q_diffusion"].apply(net, Recipe(8, 4, calls)))["ups.0.first.around"].inputs
    assert isinstance(part, SplitQuantizer) and part.channels == 16
    x = torch.randn(2, 24, 4, 4)
    assert torch.equal(part(x)[:, :16], part.first(x[:, :16]))
    assert torch.equal(part(x)[:, 16:], part.second(x[:, 16:]))


@pytest.mark.parametrize("name", STATIC)
def test_a_static_step_is_the_same_at_all_times(name: str):
    net, calls = own_network()
    for part in quantized_layers(METHODS[name].apply(net, Recipe(8, 4, calls))).values():
        tables = [table for table in part.inputs.modules() if isinstance(table, TableQuantizer)]
        assert tables and all(len(table.steps.unique()) == 1 == len(table.zeros.unique()) for table in tables)


def test_time_reaches_each_sample_of_a_batch(made: tuple[nn.Module, list[Call]]):
    net, calls = made
    timed = METHODS["per_interval"].apply(net, Recipe(8, 4, calls))
    steps = {len(part.inputs.steps.unique()) for part in quantized_layers(timed).values()}
    assert max(steps) > 5
    if isinstance(net, UNet):
        x, labels = torch.randn(2, 3, 16, 16), torch.tensor([0, 2])
        with torch.no_grad():
            together = timed(x, torch.tensor([5, 900]), labels)
            alone = [timed(x[i : i + 1], torch.tensor([t]), labels[i : i + 1]) for i, t in enumerate((5, 900))]
        assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_any_number_of_steps_works_and_no_network_is_asked_for_a_step(monkeypatch: pytest.MonkeyPatch):
    net, calls = own_network()
    timed = METHODS["tdq_ptq"].apply(net, Recipe(8, 4, calls))
    assert not any(isinstance(part, StepNetwork) for part in timed.modules())

    def refused(*_: object) -> None:
        raise AssertionError("a step network was asked")

    monkeypatch.setattr(StepNetwork, "forward", refused)
    for steps in (10, 50, 100):
        for t in range(0, TIMES, TIMES // steps):
            with torch.no_grad():
                assert timed(torch.zeros(1, 3, 16, 16), torch.tensor([t])).isfinite().all()


def test_a_copy_keeps_time_of_its_own():
    net, calls = own_network()
    timed = METHODS["tdq_ptq"].apply(net, Recipe(8, 4, calls))
    twin, call = copy.deepcopy(timed), calls[0]
    expected = asked(timed, call)
    asked(timed, calls[-1])
    assert torch.equal(asked(twin, call), expected)
    clocks = [next(p.clock for p in one.modules() if isinstance(p, TableQuantizer)) for one in (timed, twin)]
    assert clocks[0] is not clocks[1] and int(clocks[1].t[0]) == 999 and int(clocks[0].t[0]) == int(calls[-1][0][1][0])


def test_the_learned_curve_rounds_no_worse_than_one_step_where_ranges_drift():
    """A toy whose input grows eightfold over t: a step of each time leaves a fraction of the error."""
    from studio.diffusion.clock import Clock
    from studio.quant.simulated_methods import WRAPPINGS

    t = torch.arange(0, 1000, 25)
    values = torch.randn(len(t), 1024, generator=torch.Generator().manual_seed(0)) * 8 ** (t / 1000)[:, None]
    seen, grid, clock = Seen.of_tensors(t, list(values)), unsigned(4), Clock(1000)
    clock.t = t

    def relative(name: str) -> float:
        left = WRAPPINGS[name].activations([seen], grid, clock)[0](values) - values
        return float((left.square().mean(1) / values.square().mean(1)).mean())

    one, intervals, curve, dynamic = (relative(name) for name in ("mse", "per_interval", "tdq_ptq", "input_dynamic"))
    assert curve < 0.5 * one and intervals < 0.5 * one
    assert curve < 1.1 * intervals and curve < dynamic
    assert relative("minmax") > one


def test_the_dynamic_step_is_each_sample_s_own():
    x = torch.stack([torch.randn(3, 4, 4), 100 * torch.randn(3, 4, 4)])
    found = DynamicQuantizer(unsigned(4))(x)
    for sample, mine in zip(x, found, strict=True):
        s, z = min_max(sample.min(), sample.max(), unsigned(4))
        assert torch.equal(mine, fake_quantize(sample, s, z, unsigned(4)))


def test_calls_are_chosen_as_the_papers_say():
    t = torch.linspace(999, 0, 100).round().long()
    normal, even = t[normal_calls(t)].float(), t[even_calls(t)].float()
    assert float(normal.mean()) == pytest.approx(430, abs=80) and float(even.mean()) == pytest.approx(500, abs=10)
    assert sorted(even.tolist()) == sorted(t.tolist())
    assert nearest(torch.tensor([0, 500, 999]), torch.tensor([240.0, 260.0])).tolist() == [0, 1]


class Timeless(nn.Module):
    def forward(self, x: Any) -> Any:
        return x


class Empty(nn.Module):
    def forward(self, x: Any, t: Any) -> Any:
        return x


@pytest.mark.parametrize("net", [Timeless(), Empty()])
def test_a_network_that_no_method_can_take_is_named(net: nn.Module):
    with pytest.raises(InvalidInput, match=type(net).__name__):
        METHODS["mse"].apply(net, Recipe(8, 8, [((torch.zeros(1), torch.zeros(1)), {})]))


def test_without_calls_there_is_nothing_to_learn_from():
    with pytest.raises(InvalidInput, match="calibration"):
        METHODS["mse"].apply(own_network()[0], Recipe(8, 8))


def test_they_are_asked_for_by_id_and_bits():
    use = parse("tdq_ptq-w4a8", METHODS)
    assert (use.method.id, use.weight_bits, use.activation_bits, use.method.simulated) == ("tdq_ptq", 4, 8, True)
    assert (parse("mse", METHODS).weight_bits, parse("mse", METHODS).activation_bits) == (8, 8)
