"""The real methods on a tiny network: what they leave untouched, how near they come, how much they cover."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from studio.errors import InvalidInput
from studio.quant.coverage import coverage
from studio.quant.method import QuantMethod, QuantUse, is_there
from studio.quant.methods import REAL
from studio.quant.openvino_methods import MOST_CALLS, chosen, ends
from studio.quant.probe import probe, tiny

MOST_ERROR = {
    "fp32": 0.0,
    "openvino_f32": 1e-5,
    "bf16": 0.02,
    "openvino_bf16": 0.02,
    "layerwise_float8": 0.1,
    "openvino_int8": 0.15,
}
"""Relative, on the tiny network; of all others 0.05."""


def use_of(method: QuantMethod) -> QuantUse:
    return QuantUse(method, method.weight_bits[0], method.activation_bits[0])


def runs_here(method: QuantMethod) -> bool:
    return all(map(is_there, method.requires)) and not method.needs_cuda


RUNNING = [method for method in REAL if runs_here(method)]


def named(name: str) -> QuantMethod:
    return next(method for method in REAL if method.id == name)


@pytest.mark.parametrize("method", REAL, ids=lambda method: method.id)
def test_a_probe_finds_what_runs_and_names_what_is_missing(method: QuantMethod):
    reason = probe(method, "cpu")
    if runs_here(method):
        assert reason is None
    else:
        assert reason is not None and reason.key in ("quant_needs_package", "quant_needs_cuda")
        assert reason.message("en") != reason.message("zh")


@pytest.mark.parametrize("method", RUNNING, ids=lambda method: method.id)
def test_the_answer_is_near_and_the_network_untouched(method: QuantMethod):
    net, calls = tiny("cpu")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    quantized = method.apply(net, use_of(method).recipe(calls)).eval()
    with torch.inference_mode():
        for args, kwargs in calls[::3]:
            expected, answer = net(*args, **kwargs), quantized(*args, **kwargs)
            assert answer.dtype == torch.float32 and answer.shape == expected.shape
            assert (answer - expected).norm() / expected.norm() <= MOST_ERROR.get(method.id, 0.05)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in net.modules())


@pytest.mark.parametrize("method", RUNNING, ids=lambda method: method.id)
def test_another_batch_and_no_label_are_the_same_call(method: QuantMethod):
    net, calls = tiny("cpu")
    quantized = method.apply(net, use_of(method).recipe(calls)).eval()
    x, t = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.full((3,), 500)
    with torch.inference_mode():
        expected, answer = net(x, t), quantized(x, t, None)
    # Eight calls, all of one label, calibrate int8 roughly for what else may come.
    most = 0.25 if method.id == "openvino_int8" else 2 * MOST_ERROR.get(method.id, 0.05)
    assert (answer - expected).norm() / expected.norm() <= most


@pytest.mark.parametrize(
    ("name", "weights", "arithmetic"),
    [
        ("fp32", 0.0, 0.0),
        ("bf16", 1.0, 0.99),
        ("openvino_f32", 0.0, 0.0),
        ("openvino_int8", 0.85, 0.85),
        ("layerwise_float8", 1.0, 0.0),
    ],
)
def test_what_a_method_covers_is_counted(name: str, weights: float, arithmetic: float):
    net, calls = tiny("cpu")
    method = named(name)
    quantized = method.apply(net, use_of(method).recipe(calls))
    found = coverage(net, quantized, use_of(method), calls[0])
    assert weights <= found.weights <= (1.0 if weights else 0.0)
    assert arithmetic <= found.arithmetic <= (1.0 if arithmetic else 0.0)


def test_the_shares_are_those_of_a_count_by_hand():
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(64, 8))
    half = torch.nn.Sequential(net[0], net[1], torch.nn.Linear(64, 8).bfloat16())
    found = coverage(net, half, QuantUse(named("bf16"), 16, 16), ((torch.zeros(1, 2, 4, 4),), {}))
    conv_macs, linear_macs = 16 * 4 * 2 * 9, 64 * 8
    assert found.weights == pytest.approx(512 / (512 + 72))
    assert found.arithmetic == pytest.approx(linear_macs / (conv_macs + linear_macs))


def test_int8_is_a_third_of_float32_on_disk_or_less():
    net, calls = tiny("cpu")
    sizes = {}
    for name in ("openvino_f32", "openvino_int8"):
        method = named(name)
        sizes[name] = method.apply(net, use_of(method).recipe(calls)).held_bytes
    assert sizes["openvino_int8"] < 0.45 * sizes["openvino_f32"]  # of a network whose norms and codes weigh much


def test_calibration_takes_calls_from_the_whole_trajectory():
    calls = [((torch.zeros(1), index), {}) for index in range(1_000)]
    taken = [args[1] for args, _ in chosen(calls)]
    assert len(taken) <= MOST_CALLS and taken[0] == 0 and taken[-1] >= 990
    assert len({b - a for a, b in pairwise(taken)}) == 1


def test_without_calls_nothing_is_calibrated():
    net, _ = tiny("cpu")
    with pytest.raises(InvalidInput) as raised:
        named("openvino_int8").apply(net, use_of(named("openvino_int8")).recipe(()))
    assert raised.value.key == "quant_cannot.no_calls"


@pytest.mark.parametrize("name", ["openvino_f32", "openvino_int8"])
def test_openvino_refuses_a_network_of_another_kind(name: str):
    with pytest.raises(InvalidInput) as raised:
        named(name).apply(torch.nn.Linear(2, 2), use_of(named(name)).recipe(()))
    assert raised.value.key == "quant_cannot.other_network"


def test_the_first_and_the_last_convolution_stay_in_full_precision():
    net, calls = tiny("cpu")
    model = named("openvino_int8").apply(net, use_of(named("openvino_int8")).recipe(calls)).model
    convolutions = {op.get_friendly_name(): op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"}
    rounded = [op.input_value(0).get_node().get_type_name() == "FakeQuantize" for op in convolutions.values()]
    assert not rounded[0] and not rounded[-1] and sum(rounded) > len(rounded) / 2
    names = list(convolutions)
    assert ends(model) == [names[0], names[-1]]
