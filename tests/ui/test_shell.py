"""The header says what runs where."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.ui import antd
from studio.ui.shell import Header, _header_updates


def resident(base_id: str, leases: int = 0, loading: bool = False) -> Any:
    return SimpleNamespace(base_id=base_id, leases=leases, loading=loading)


def studio_with(*residents: Any) -> Any:
    kinds = {"world": "base", "sdxl": "base", "world-pose": "controlnet", "momo": "lora"}
    snapshot = SimpleNamespace(resident=residents, bytes=40 * 10**6, limit_bytes=2 * 10**9)
    specs = {model_id: SimpleNamespace(kind=kind) for model_id, kind in kinds.items()}
    registry = SimpleNamespace(snapshot=lambda: snapshot, specs=specs, device="cpu", dtype="float32")
    return SimpleNamespace(started=True, registry=registry, specs={"world": specs["world"]})


@pytest.fixture
def header(page: gr.Blocks) -> Header:
    return Header(*(antd.Tag("") for _ in range(4)), models=gr.Button(), residents=gr.Button())


def test_the_header_names_each_base_model_once_and_not_what_steers_it(header: Header):
    studio = studio_with(*map(resident, ["world", "world-pose", "world", "momo", "sdxl"]))
    assert _header_updates(studio, header, "en")[header.model]["value"] == "world, sdxl"


def test_an_empty_memory_names_the_model_that_comes_first(header: Header):
    assert _header_updates(studio_with(), header, "en")[header.model]["value"] == "world"


@pytest.mark.parametrize(
    ("one", "state"),
    [(resident("world"), "ready"), (resident("world", 1), "drawing"), (resident("world", 1, loading=True), "loading")],
)
def test_the_header_says_what_the_device_does(header: Header, one: Any, state: str):
    assert state in _header_updates(studio_with(one), header, "en")[header.state]["value"]
