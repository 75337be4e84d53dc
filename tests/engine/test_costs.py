"""What a step costs: memory against sums that can be done by hand, and every network measured at its size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from studio.engine.costs import DECODER, LATENTS, PIXELS, SMALL, Cost, Costs, PixelsAgainstLatents, cost
from studio.engine.held import Held
from studio.errors import Cancelled, ModelUnavailable
from studio.events import Row
from studio.train import ddpm, places
from studio.train.run import Options
from studio.types import GenerationRequest
from tests.tiny import LATENT_CHANNELS, NATIVE_SIZE

from .conftest import Listener

Requests = Callable[..., GenerationRequest]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DDPM that was trained for a few steps."""
    root: Path = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", root / "runs")
        ddpm.main(Options("smoke", out=root))
    return root / "ddpm"


def test_what_is_held_at_once_is_counted():
    x = torch.zeros(1_000)
    with Held({x.untyped_storage().data_ptr()}) as held:
        y = x + 1  # 4,000 bytes beside x, which was there
        y = y * 2  # both for a moment
        z = y.view(10, 100)  # the same memory
        x.view(10, 100)
    assert held.peak_bytes == 8_000 and z.numel() == 1_000


def test_what_was_let_go_is_not_counted():
    x = torch.zeros(1_000)
    with Held(set()) as held:
        for _ in range(10):
            y = x * 2
            del y
    assert held.peak_bytes == 4_000


def test_a_network_is_counted_without_its_weights():
    net = nn.Sequential(nn.Linear(8, 100), nn.Linear(100, 4)).eval()
    with torch.inference_mode():
        found = cost("net", net, torch.zeros(1, 1, 1, 8), net)
    assert found.parameters == 8 * 100 + 100 + 100 * 4 + 4
    assert found.peak_bytes == 4 * (100 + 4)
    assert found.seconds > 0 and found.shape == (1, 1, 8)


def test_every_network_is_measured_at_its_size(listener: Listener, request_for: Requests, folder: Path):
    found = PixelsAgainstLatents(request_for(), folder).run(listener)
    cells = NATIVE_SIZE // 8
    assert {row.id: row.shape for row in found.rows} == {
        PIXELS: (3, NATIVE_SIZE, NATIVE_SIZE),
        SMALL: (3, cells, cells),
        LATENTS: (LATENT_CHANNELS, cells, cells),
        DECODER: (LATENT_CHANNELS, cells, cells),
    }
    assert found.of(PIXELS).parameters == found.of(SMALL).parameters
    assert found.of(PIXELS).peak_bytes > 10 * found.of(SMALL).peak_bytes
    assert len([event for event in listener.events if isinstance(event, Row)]) == 4


def test_a_picture_is_its_steps_and_the_decoder():
    rows = tuple(
        Cost(name, (1, 1, 1), 1, seconds, 1) for name, seconds in ((PIXELS, 2.0), (LATENTS, 0.5), (DECODER, 3))
    )
    costs = Costs(rows, 1)
    assert costs.picture_seconds(PIXELS, 10) == 20
    assert costs.picture_seconds(LATENTS, 10) == 8


def test_it_needs_the_pixel_network_and_can_be_stopped(
    listener: Listener, request_for: Requests, folder: Path, tmp_path: Path
):
    with pytest.raises(ModelUnavailable, match="ddpm"):
        PixelsAgainstLatents(request_for(), tmp_path / "ddpm").run(listener)
    listener.stop_after = 1
    with pytest.raises(Cancelled):
        PixelsAgainstLatents(request_for(), folder).run(listener)
