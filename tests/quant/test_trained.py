"""Networks that were trained with quantization, read back as methods."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from studio.diffusion.exported import pack
from studio.diffusion.learned import ready
from studio.diffusion.observe import plan, record
from studio.diffusion.tdq import fourier_codes
from studio.errors import InvalidInput
from studio.quant.method import Recipe, parse
from studio.quant.quantizers import Quantizers
from studio.quant.simulated import TIMES
from studio.quant.trained import RUNS, WEIGHTS, trained_methods
from tests.quant.networks import asked, diffusers_network, own_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LSQ and TDQ at W4A4, TDQ at W3A3, and one that is told of but not shipped."""
    folder: Path = tmp_path_factory.mktemp("tdq")
    net, calls = own_network()
    chosen = plan(net, calls[0])
    seen, runs = record(net, chosen, calls, TIMES), []
    for method, bits in (("lsq", (4, 4)), ("tdq", (4, 4)), ("tdq", (3, 3)), ("tdq", (8, 4))):
        name, shipped = f"w{bits[0]}a{bits[1]}-{method}-0", bits != (8, 4)
        entry = {"method": method, "weight_bits": bits[0], "activation_bits": bits[1]}
        runs.append({"id": name, "entry": entry, "shipped": shipped})
        if shipped:
            (folder / name).mkdir()
            learning = ready(net, chosen, seen, method, *bits, fourier_codes(TIMES)).eval()  # type: ignore[arg-type]
            save_file(pack(learning, TIMES), folder / name / WEIGHTS)
    (folder / RUNS).write_text(json.dumps(runs), encoding="utf-8")
    return folder


def test_the_methods_are_those_that_were_shipped(folder: Path):
    methods = {method.id: method for method in trained_methods(folder)}
    assert {*methods} == {"lsq_trained", "tdq_trained"} and all(method.simulated for method in methods.values())
    assert methods["tdq_trained"].weight_bits == (4, 3) and methods["lsq_trained"].weight_bits == (4,)
    assert parse("tdq_trained-w3a3", methods).activation_bits == 3


def test_what_was_trained_takes_the_base_s_place_and_leaves_it(folder: Path):
    net, calls = own_network()
    before = asked(net, calls[0])
    read = trained_methods(folder)[1].apply(net, Recipe(4, 4))
    assert type(read) is type(net) and torch.equal(asked(net, calls[0]), before)
    assert not torch.equal(asked(read, calls[0]), before) and asked(read, calls[0]).isfinite().all()


def test_bits_at_which_nothing_was_trained_are_refused(folder: Path):
    methods = {method.id: method for method in trained_methods(folder)}
    with pytest.raises(InvalidInput, match="w4a4, w3a3"):
        parse("tdq_trained-w4a3", methods)
    assert methods["tdq_trained"].pairs == ((4, 4), (3, 3))


def test_it_is_offered_without_being_tried_on_another_network(folder: Path):
    assert Quantizers(trained_methods(folder)).why_not("tdq_trained") is None


def test_another_network_is_refused_by_name(folder: Path):
    with pytest.raises(InvalidInput, match="tdq_trained"):
        trained_methods(folder)[1].apply(diffusers_network()[0], Recipe(4, 4))


def test_there_are_none_where_nothing_was_trained(tmp_path: Path):
    assert trained_methods(tmp_path) == ()
