"""TDQ on real kernels: they compute what the simulated layers do, at every time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from studio.bench.quant_kernels import BATCHES, KernelConv, kernel_rows, on_kernels
from studio.diffusion.clock import Clock
from studio.diffusion.quantize import fake_quantize, unsigned
from studio.diffusion.quantizers import QuantizedLayer, TableQuantizer
from studio.quant import simulated_methods
from studio.quant.method import Recipe
from tests.engine.pixels import make_ddpm
from tests.quant.networks import asked, own_network

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # the one kernel that rounds in one pass
TDQ = next(method for method in simulated_methods.SIMULATED if method.id == "tdq_ptq")


@pytest.fixture(autouse=True)
def soon_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_methods, "FIT_STEPS", 5)


def test_a_network_on_kernels_answers_like_the_simulated_one_at_every_time():
    net, calls = own_network()
    simulated = TDQ.apply(net, Recipe(8, 8, calls))
    real = on_kernels(simulated)
    assert any(isinstance(part, KernelConv) for part in real.modules())
    assert not any(isinstance(part, KernelConv) for part in simulated.modules())
    for call in calls[::4]:
        exact, rounded = asked(net, call), asked(simulated, call)
        error = (asked(real, call) - rounded).norm() / rounded.norm()
        assert error < 0.03 and error < 2 * (rounded - exact).norm() / exact.norm() + 0.01


def test_a_layer_takes_the_step_of_its_time():
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, padding=1)
    host = nn.Module()
    host.time = nn.Identity()  # type: ignore[assignment]
    net, _ = own_network()
    clock = Clock.at(net, 1_000)
    steps = torch.linspace(0.01, 0.05, 1_000)
    part = KernelConv(QuantizedLayer(layer, TableQuantizer(steps, torch.full((1_000,), 128.0), unsigned(8), clock)))
    x = torch.randn(2, 8, 6, 6)
    for t in (0, 500, 999):
        clock.t = torch.full((2,), t)
        weight = (layer.weight / part.scales.view(-1, 1, 1, 1)).round() * part.scales.view(-1, 1, 1, 1)
        expected = nn.functional.conv2d(fake_quantize(x, steps[t], 128.0, unsigned(8)), weight, layer.bias, padding=1)
        torch.testing.assert_close(part(x), expected.detach(), atol=1e-4, rtol=1e-4)


def test_only_convolutions_after_a_table_have_a_kernel():
    with pytest.raises(TypeError, match="Linear after Identity"):
        KernelConv(QuantizedLayer(nn.Linear(2, 2), nn.Identity()))


def test_rows_for_one_picture_and_for_many(tmp_path: Path):
    rows = list(kernel_rows(make_ddpm(tmp_path / "ddpm"), 2))
    ratios = [row for row in rows if row.name == "kernel_tdq_int8_over_bf16"]
    assert [f"{batch} at once" in row.where for batch, row in zip(BATCHES, ratios, strict=True)] == [True] * len(
        BATCHES
    )
    assert rows[-1].name == "kernel_tdq_int8_mse" and rows[-1].value > 0
    assert list(kernel_rows(tmp_path / "nothing", 2)) == []
