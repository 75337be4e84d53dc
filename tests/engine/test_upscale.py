"""A picture at twice its sides, by the super-resolver, which may be missing."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from studio.diffusion.super_resolution import SuperResolver
from studio.engine.images import png_bytes
from studio.engine.infotext import FOREIGN, OWN, read, texts, write
from studio.engine.parameters import parse
from studio.engine.upscale import WEIGHTS, Upscaler, Upscaling, labelled_larger
from studio.errors import InvalidInput, ModelUnavailable
from studio.types import MAX_SIDE
from tests.engine.told import MODELS, REQUEST, SHA256


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def network(tmp_path: Path) -> SuperResolver:
    """One of random weights, whose file lies in the test's folder."""
    torch.manual_seed(0)
    network = SuperResolver()
    torch.nn.init.normal_(network.last.weight, std=0.05)
    save_file(network.state_dict(), tmp_path / WEIGHTS)
    return network


def test_untrained_it_is_plain_interpolation(tmp_path: Path):
    save_file(SuperResolver().state_dict(), tmp_path / WEIGHTS)
    picture = noise(20, 12)
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    np.testing.assert_allclose(np.asarray(Upscaler(tmp_path)(picture)), expected.numpy(), atol=1)


@pytest.mark.parametrize("size", [(64, 48), (300, 40), (256, 520), (1, 1)])
def test_in_pieces_it_is_what_it_is_at_once(network: SuperResolver, tmp_path: Path, size: tuple[int, int]):
    picture = noise(*size)
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        y = network(x)[0].clamp(-1, 1).permute(1, 2, 0)
    larger = Upscaler(tmp_path)(picture)
    assert larger.size == (2 * size[0], 2 * size[1])
    np.testing.assert_allclose(np.asarray(larger), ((y + 1) * 127.5).numpy(), atol=0.51)


def test_without_its_weights_it_says_how_to_get_them(tmp_path: Path):
    upscaler = Upscaler(tmp_path)
    assert not upscaler.available
    with pytest.raises(ModelUnavailable, match="python -m studio train upscale"):
        upscaler(noise(8, 8))


def test_weights_that_come_later_are_found(network: SuperResolver, tmp_path: Path):
    late = tmp_path / "later"
    upscaler = Upscaler(late)
    with pytest.raises(ModelUnavailable):
        upscaler(noise(8, 8))
    late.mkdir()
    (tmp_path / WEIGHTS).rename(late / WEIGHTS)
    assert upscaler(noise(8, 8)).size == (16, 16)


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes):
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelUnavailable) as refused:
        Upscaler(tmp_path)(noise(8, 8))
    assert refused.value.key == "load_failed"


def test_another_networks_weights_are_told(tmp_path: Path):
    save_file({"weight": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(ModelUnavailable):
        Upscaler(tmp_path)(noise(8, 8))


def test_a_picture_that_is_large_already_is_refused(tmp_path: Path):
    with pytest.raises(InvalidInput) as refused:
        Upscaler(tmp_path)(Image.new("RGB", (MAX_SIDE + 1, 8)))
    assert refused.value.values["maximum"] == MAX_SIDE


def test_a_work_upscales_on_the_queues_device(network: SuperResolver, tmp_path: Path):
    registry = SimpleNamespace(device="cpu", lane=threading.Lock())
    context: Any = SimpleNamespace(registry=registry, check_cancelled=lambda: None)
    assert Upscaling(noise(8, 4), Upscaler(tmp_path)).run(context).size == (16, 8)


def test_a_larger_picture_still_says_how_the_small_one_was_drawn():
    small = Image.new("RGB", (8, 8))
    larger = labelled_larger(small.resize((16, 16)), texts(REQUEST, SHA256))
    chunks = write(REQUEST, SHA256)
    assert parse(larger.info[FOREIGN]).settings["Postprocess upscale by"] == "2"
    assert parse(larger.info[FOREIGN]).prompt == REQUEST.prompt
    chunks.add_text(OWN, larger.info[OWN])
    restored = read(png_bytes(larger, chunks), MODELS)
    assert json.loads(larger.info[OWN])["upscaled"] == 2
    assert restored.values == read(png_bytes(small, write(REQUEST, SHA256)), MODELS).values
    assert "picture_upscaled" in [problem.key for problem in restored.problems]


def test_a_picture_without_texts_gets_none():
    assert labelled_larger(Image.new("RGB", (2, 2)), {"dpi": (72, 72)}).info == {}
