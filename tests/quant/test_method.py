"""The names of methods and their bits, and what is said of those that cannot be had."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from torch import nn

from studio.errors import InvalidInput, ModelUnavailable
from studio.quant.method import MAX_BITS, MIN_BITS, QuantMethod, Recipe, parse, require_backend
from studio.quant.quantizers import Quantizers


def kept(net: nn.Module, recipe: Recipe) -> nn.Module:
    return net


CHOOSING = QuantMethod("choosing", True, (8, 4, 2), (8, 6, 4), kept)
FIXED = QuantMethod("fixed", False, (8,), (32,), kept)
METHODS = MappingProxyType({one.id: one for one in (CHOOSING, FIXED)})


@pytest.mark.parametrize(
    ("quant_id", "bits", "canonical"),
    [
        ("choosing", (8, 8), "choosing-w8a8"),
        ("choosing-w8a4", (8, 4), "choosing-w8a4"),
        ("choosing-w2a6", (2, 6), "choosing-w2a6"),
        ("fixed", (8, 32), "fixed"),
        ("fixed-w8a32", (8, 32), "fixed"),
    ],
)
def test_an_id_names_a_method_and_its_bits(quant_id: str, bits: tuple[int, int], canonical: str):
    use = parse(quant_id, METHODS)
    assert (use.weight_bits, use.activation_bits) == bits
    assert use.id == canonical
    assert parse(use.id, METHODS) == use


@pytest.mark.parametrize(
    ("quant_id", "field", "value"),
    [
        ("choosing-w1a8", "weight_bits", 1),
        ("choosing-w9a8", "weight_bits", 9),
        ("choosing-w8a16", "activation_bits", 16),
        ("choosing-w8a0", "activation_bits", 0),
        ("choosing-w999a8", "weight_bits", 999),
    ],
)
def test_bits_outside_two_to_eight_are_refused_by_name(quant_id: str, field: str, value: int):
    with pytest.raises(InvalidInput) as raised:
        parse(quant_id, METHODS)
    assert raised.value.key == "bad_whole_number"
    assert raised.value.values == {"field": field, "minimum": MIN_BITS, "maximum": MAX_BITS, "value": value}


@pytest.mark.parametrize("quant_id", ["choosing-w8a5", "fixed-w4a4"])
def test_bits_that_a_method_does_not_offer_are_refused_with_those_it_does(quant_id: str):
    with pytest.raises(InvalidInput) as raised:
        parse(quant_id, METHODS)
    assert raised.value.key == "not_a_choice"


@pytest.mark.parametrize("quant_id", ["", "Fixed", "fixed-w8", "fixed-a8w8", "fixed-w8a8-", "../fixed", "fixed\n"])
def test_what_cannot_be_read_is_refused(quant_id: str):
    with pytest.raises(InvalidInput) as raised:
        parse(quant_id, METHODS, field="rows")
    assert (raised.value.key, raised.value.values["field"]) == ("bad_quant_id", "rows")


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInput) as raised:
        parse("gguf", METHODS)
    assert raised.value.values["choices"] == "choosing, fixed"


def test_a_method_without_its_package_names_it_as_it_is_installed():
    absent = QuantMethod("absent", False, (8,), (8,), kept, requires=("no_such_package.inside",))
    with pytest.raises(ModelUnavailable) as raised:
        require_backend(absent, "cpu")
    assert (raised.value.key, raised.value.values["package"]) == ("quant_needs_package", "no_such_package.inside")
    assert "pip install" in raised.value.message("zh")


def test_a_method_that_needs_a_card_says_so_on_a_processor():
    on_a_card = QuantMethod("card", False, (4,), (32,), kept, needs_cuda=True)
    with pytest.raises(ModelUnavailable) as raised:
        Quantizers((on_a_card,), "cpu").use("card")
    assert (raised.value.key, raised.value.values["device"]) == ("quant_needs_cuda", "cpu")


def test_what_a_package_raises_is_told_and_tried_once():
    tries = []

    def broken(net: nn.Module, recipe: Recipe) -> nn.Module:
        tries.append(1)
        raise RuntimeError("no kernel for this processor\nand more")

    quantizers = Quantizers((QuantMethod("broken", False, (8,), (8,), broken),))
    for _ in range(2):
        reason = quantizers.why_not("broken")
        assert reason is not None and reason.values["reason"] == "RuntimeError: no kernel for this processor"
    assert len(tries) == 1


def test_a_method_that_answers_something_else_does_not_run():
    def other(net: nn.Module, recipe: Recipe) -> nn.Module:
        class Noise(nn.Module):
            def forward(self, xt, t, labels=None):
                return 1_000 * xt

        return Noise()

    reason = Quantizers((QuantMethod("other", False, (8,), (8,), other),)).why_not("other")
    assert reason is not None and reason.key == "quant_does_not_run"


def test_the_simulated_methods_are_those_that_are_named_without_torch():
    from studio.quant.methods import METHODS as OFFERED
    from studio.quant.methods import SIMULATED_IDS
    from studio.quant.simulated_methods import SIMULATED

    assert tuple(method.id for method in SIMULATED) == SIMULATED_IDS
    bits = {method.id: (method.weight_bits, method.activation_bits) for method in OFFERED if method.simulated}
    assert bits == {method.id: (method.weight_bits, method.activation_bits) for method in SIMULATED}
