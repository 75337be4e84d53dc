from __future__ import annotations

import numpy as np
import pytest
import torch

from studio.diffusion.observe import layers_of, plan, record
from studio.diffusion.quantize import mse_search, unsigned
from studio.diffusion.seen import BINS, Seen
from tests.quant.networks import asked, diffusers_network, own_network

T = 1000


def test_the_ends_and_what_hears_the_time_alone_keep_full_precision():
    for make, ends in ((own_network, ("first", "out")), (diffusers_network, ("conv_in", "conv_out"))):
        net, calls = make()
        chosen = plan(net, calls[0])
        assert {*ends} <= {*chosen.kept}
        others = {*chosen.kept} - {*ends}
        assert others == {name for name in layers_of(net) if "time" in name}
        assert {site.name for site in chosen.sites} | {*chosen.kept} == {*layers_of(net)}


def test_the_shares_are_those_of_the_weights_and_of_the_products():
    from torch.utils.flop_counter import FlopCounterMode

    net, calls = own_network()
    chosen, layers = plan(net, calls[0]), layers_of(net)
    taken = sum(layers[site.name].weight.numel() for site in chosen.sites)
    assert chosen.weight_share == pytest.approx(taken / sum(layer.weight.numel() for layer in layers.values()))
    with FlopCounterMode(display=False) as counter:
        net(*calls[0][0])
    kept = 2 * 16 * 16 * (8 * 3 * 49 + 8 * 3) + 2 * (8 * 32 + 32 * 32)  # both ends, and the time's two layers
    kept += 2 * sum(layer.weight.numel() for name, layer in layers.items() if ".time." in name)
    total = counter.get_total_flops() // 2
    assert sum(site.macs for site in chosen.sites) == total - kept
    assert chosen.mac_share == pytest.approx((total - kept) / total)


def test_attention_s_products_count_as_not_covered():
    net, calls = diffusers_network()
    chosen = plan(net, calls[0])
    linear_and_convolutions = sum(site.macs for site in chosen.sites)
    assert linear_and_convolutions / chosen.mac_share > linear_and_convolutions
    assert 0.8 < chosen.mac_share < 1 and 0.7 < chosen.weight_share < 1


def test_what_was_seen_is_told_by_time():
    net, calls = own_network()
    chosen = plan(net, calls[0])
    seen = record(net, chosen, calls, T)
    assert [*seen] == [site.name for site in chosen.sites]
    inputs: list[torch.Tensor] = []
    layer = layers_of(net)["downs.0.first.around"]
    handle = layer.register_forward_hook(lambda _, args, __: inputs.append(args[0]))
    for call in calls:
        asked(net, call)
    handle.remove()
    (found,) = seen["downs.0.first.around"]
    assert found.t.tolist() == list(range(999, -1, -111))
    assert found.low.tolist() == [float(x.min()) for x in inputs]
    assert found.high.tolist() == [float(x.max()) for x in inputs]
    assert all(set(row.tolist()) <= set(x.flatten().tolist()) for row, x in zip(found.values, inputs, strict=True))


def ranges(t: torch.Tensor, *tops: float) -> Seen:
    """From 0 to a top at each time."""
    return Seen.of_tensors(t, [torch.linspace(0, top, 50) for top in tops])


def test_correlation_and_ratio_of_a_range():
    t = torch.tensor([0, 10, 20, 30])
    rising, still, noisy = ranges(t, 1, 2, 3, 4), ranges(t, 1, 1, 1, 1), ranges(t, 1, 3, 2, 5)
    assert rising.correlation() == pytest.approx(1) and rising.ratio() == pytest.approx(4)
    assert still.correlation() == 0 and still.ratio() == 1
    assert noisy.correlation() == pytest.approx(np.corrcoef([0, 10, 20, 30], [1, 3, 2, 5])[0, 1])


def test_everything_that_went_in_is_counted():
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    x[7] = 40.0  # so rare that a draw does not show it
    seen = Seen.of_tensors(torch.tensor([5]), [x])
    shares, edges = np.histogram(x.numpy(), BINS)
    assert np.allclose(seen.shares[0].numpy(), shares / len(x), atol=2e-5)
    assert np.allclose(seen.centres[0].numpy(), (edges[1:] + edges[:-1]) / 2, atol=1e-4)
    assert float(seen.shares[0, -1]) == pytest.approx(1e-5) and float(seen.high[0]) == 40


def test_calls_are_pooled_as_if_they_were_one():
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(20_000, generator=generator), 3 * torch.randn(20_000, generator=generator) + 1]
    values, shares, low, high = Seen.of_tensors(torch.tensor([5, 900]), parts).pooled()
    both = torch.cat(parts)
    assert (float(low), float(high)) == (float(both.min()), float(both.max()))
    assert float(shares.sum()) == pytest.approx(1, abs=1e-5)
    mean = float((values * shares).sum())
    assert mean == pytest.approx(float(both.mean()), abs=0.01)
    assert float((values.square() * shares).sum()) - mean**2 == pytest.approx(float(both.var()), rel=0.01)


def test_a_step_found_from_the_counts_is_the_one_found_from_everything():
    x = torch.randn(1, 60_000, generator=torch.Generator().manual_seed(1)) ** 3
    values, shares, low, high = Seen.of_tensors(torch.tensor([5]), [x]).pooled()
    for bits in (3, 4, 6, 8):
        (s, z), (expected, zero) = (
            mse_search(values, unsigned(bits), low, high, weights=shares),
            mse_search(x, unsigned(bits)),
        )
        assert float(s) == pytest.approx(float(expected), rel=0.06) and float(z) == pytest.approx(float(zero), abs=1)


def test_a_tensor_of_one_value_is_counted_too():
    seen = Seen.of_tensors(torch.tensor([5]), [torch.full((9,), 2.0)])
    assert float(seen.shares.sum()) == 1 and float(seen.centres[0, 0]) == 2 and float(seen.ratio()) == 1
