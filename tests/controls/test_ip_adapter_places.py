"""Where and when an IP-Adapter acts: shares of places, steps and blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from studio.controls.ip_adapter import PLACES, acts_in, is_acting, shares
from studio.settings import ROOT
from tests.tiny import NATIVE_SIZE

SIZE = (NATIVE_SIZE, NATIVE_SIZE)
HALF = np.arange(NATIVE_SIZE) < NATIVE_SIZE // 2


def mask(columns: np.ndarray) -> Image.Image:
    """White in these columns."""
    return Image.fromarray(np.where(np.broadcast_to(columns, SIZE), np.uint8(255), np.uint8(0)))


def test_shares_follow_weights_and_masks():
    everywhere, left = mask(np.ones_like(HALF)), mask(HALF)
    found = shares((3.0, 1.0), (everywhere, left), 8)
    assert found.shape == (1, 2, NATIVE_SIZE // 8, NATIVE_SIZE // 8)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(found[0, :, 0, -1], torch.tensor([1.0, 0.0]))
    assert shares((1.0,), (mask(np.zeros_like(HALF)),), 8).abs().max() == 0


def test_a_place_at_a_mask_s_edge_is_covered_in_part():
    share = shares((1.0, 1.0), (mask(np.arange(NATIVE_SIZE) < 4), mask(np.zeros_like(HALF))), 8)
    torch.testing.assert_close(share[0, 0, 0, :2], torch.tensor([0.5, 0.0]), atol=1 / 255, rtol=0)


@pytest.mark.parametrize(
    ("total", "start", "end", "acting"),
    [(4, 0.0, 1.0, [0, 1, 2, 3]), (4, 0.25, 0.75, [1, 2]), (10, 0.0, 0.1, [0]), (3, 0.5, 1.0, [2])],
)
def test_the_steps_are_counted_as_a_controlnet_s_are(total: int, start: float, end: float, acting: list[int]):
    assert [index for index in range(total) if is_acting(index, total, start, end)] == acting


@pytest.mark.parametrize(("family", "config"), [("little_world", ROOT / "models" / "little-world" / "unet")])
def test_every_cross_attention_is_in_one_place(family: str, config: Path):
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads((config / "config.json").read_text(encoding="utf-8")))
    names = [name for name in unet.attn_processors if "attn2" in name]
    for name in names:
        assert sum(acts_in(name, where, family) for where in PLACES[family]) == 1
    assert all(any(acts_in(name, where, family) for name in names) for where in PLACES[family])
