from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from studio.engine.memory import PeakMeter, TorchMover, is_out_of_memory, storages


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    meter = PeakMeter("cpu")
    before = meter.peak_bytes
    ballast = np.ones(50_000_000, dtype=np.uint8)
    meter.sample()
    del ballast
    meter.sample()
    assert meter.peak_bytes >= before + 40_000_000


def test_a_peak_between_two_looks_is_seen_while_the_meter_is_entered() -> None:
    with PeakMeter("cpu") as meter:
        ballast = np.ones(50_000_000, dtype=np.uint8)
        deadline = time.monotonic() + 10
        while meter.peak_bytes < meter.base_bytes + 40_000_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        del ballast
    assert meter.peak_bytes >= meter.base_bytes + 40_000_000


def test_storages_count_what_is_shared_once_and_views_as_the_whole() -> None:
    layer = nn.Linear(10, 10, bias=False)
    tied = nn.Linear(10, 10, bias=False)
    tied.weight = layer.weight
    state = {"lora": {"down": torch.zeros(4, 10)}, "part of one": layer.weight.detach()[:2]}
    assert sum(storages([layer, tied, state, "no tensor"]).values()) == 4 * (10 * 10 + 4 * 10)


def test_storages_are_told_apart_where_there_are_no_addresses() -> None:
    with torch.device("meta"):
        first, second = nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False)
    assert sum(storages([first, second, first]).values()) == 2 * 4 * 100


def test_what_a_quantized_tensor_wraps_is_counted() -> None:
    class Wrapped:
        def __init__(self) -> None:
            self.data, self.scale = torch.zeros(100, dtype=torch.int8), torch.zeros(1)

        def __tensor_flatten__(self) -> tuple[list[str], None]:
            return ["data", "scale"], None

    layer = nn.Module()
    layer.parameters = lambda recurse=True: iter([Wrapped()])  # type: ignore[method-assign,return-value,assignment]
    assert sum(storages([layer]).values()) == 100 + 4


def test_moving_takes_the_storages_to_the_other_device() -> None:
    layer = nn.Linear(10, 10, bias=False)
    mover = TorchMover("cpu", parking="meta")
    mover.park([layer])
    assert {device for device, _ in storages([layer])} == {"meta"}  # type: ignore[misc]
    assert sum(storages([layer]).values()) == 400
    mover.release()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_parking_frees_the_graphics_card_and_comes_back_bit_by_bit() -> None:
    layer = nn.Linear(1_000, 1_000).to("cuda")
    before, weights = torch.cuda.memory_allocated(), layer.weight.detach().cpu().clone()
    mover = TorchMover("cuda")
    mover.park([layer])
    mover.release()
    assert torch.cuda.memory_allocated() <= before - 4_000_000
    mover.fetch([layer])
    assert layer.weight.device.type == "cuda"
    assert torch.equal(layer.weight.cpu(), weights)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected
