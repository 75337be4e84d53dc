"""A page to draw on, and a queue without models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import gradio as gr
import pytest

from studio.engine.jobs import JobQueue
from studio.ui import antd


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    jobs = JobQueue(SimpleNamespace(device="cpu"))
    yield jobs
    jobs.close()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[gr.Blocks]:
    """An empty page that is being drawn. Gradio makes event loops for it that it never closes: it gets one, closed."""
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: loop)
    with gr.Blocks() as blocks, antd.Application():
        yield blocks
    asyncio.set_event_loop(None)
    loop.close()
