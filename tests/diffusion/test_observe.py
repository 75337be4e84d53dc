from __future__ import annotations

import numpy as np
import pytest
import torch

from studio.diffusion.observe import Seen, layers_of, plan, record
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


def test_correlation_and_ratio_of_a_range():
    t = torch.tensor([0, 10, 20, 30])
    zero = torch.zeros(4)
    rising = Seen(t, zero, torch.tensor([1.0, 2.0, 3.0, 4.0]), zero[:, None])
    assert rising.correlation() == pytest.approx(1) and rising.ratio() == pytest.approx(4)
    still = Seen(t, zero, torch.ones(4), zero[:, None])
    assert still.correlation() == 0 and still.ratio() == 1
    noisy = Seen(t, zero, torch.tensor([1.0, 3.0, 2.0, 5.0]), zero[:, None])
    assert noisy.correlation() == pytest.approx(np.corrcoef([0, 10, 20, 30], [1, 3, 2, 5])[0, 1])
