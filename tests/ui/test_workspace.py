"""A picture travels to another tab, or comes back larger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from studio.diffusion.super_resolution import SuperResolver
from studio.engine.images import png_bytes
from studio.engine.infotext import OWN, write
from studio.engine.jobs import JobQueue
from studio.engine.upscale import WEIGHTS, Upscaler
from studio.errors import ModelUnavailable
from studio.ui.run import owner_of
from studio.ui.workspace import larger, send, tab_of, told
from tests.engine.told import REQUEST, SHA256

ENGLISH: Any = SimpleNamespace(query_params={}, headers={})


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Any]:
    registry: Any = SimpleNamespace(device="cpu", lane=threading.Lock())
    jobs = JobQueue(registry)
    yield SimpleNamespace(studio=SimpleNamespace(jobs=jobs, upscaler=Upscaler(tmp_path)), sent="sent", tabs="tabs")
    jobs.close()


def picture() -> bytes:
    return png_bytes(Image.new("RGB", (8, 6), "red"), write(REQUEST, SHA256))


def test_a_sent_picture_opens_the_tab_that_it_goes_to(services: Any):
    updates = [send(services, b"data", "inpaint", as_input=True) for _ in range(2)]
    first, second = (one["sent"] for one in updates)
    assert (first.data, first.tab, first.as_input) == (b"data", "inpaint", True)
    assert first != second
    assert updates[0]["tabs"]["selected"] == "inpaint"


@pytest.mark.parametrize(
    ("request_", "tab"),
    [
        ({"task": "img2img"}, "img2img"),
        ({"task": "text2img", "controls": []}, "text2img"),
        ({"task": "text2img", "controls": [{"control_id": "pose"}, {"control_id": "lora"}]}, "controlnet"),
        ({"task": "text2img", "controls": [{"control_id": "lora"}]}, "lora"),
        ({"task": "text2img", "controls": [{"control_id": "of a later day"}]}, "text2img"),
        ({"task": "inpaint", "controls": [{"control_id": "pose"}]}, "inpaint"),
    ],
)
def test_a_record_goes_back_to_the_tab_that_drew_it(request_: dict[str, Any], tab: str):
    assert tab_of(request_) == tab


def test_a_picture_comes_back_larger_with_its_texts(services: Any, tmp_path: Path):
    torch.manual_seed(0)
    save_file(SuperResolver().state_dict(), tmp_path / WEIGHTS)
    result = larger(services, owner_of(None), picture())
    assert result.size == (16, 12)
    assert '"upscaled": 2' in result.info[OWN]


def test_without_the_super_resolver_it_is_told_how_to_get_it(services: Any):
    with pytest.raises(ModelUnavailable, match="train upscale"):
        larger(services, owner_of(None), picture())


def test_what_is_refused_becomes_an_error_on_the_page():
    def handler(value: object, language: str) -> dict[Any, Any]:
        raise ModelUnavailable("no_upscaler")

    with pytest.raises(gr.Error, match="super-resolver is missing"):
        told(handler)(ENGLISH, "value")
