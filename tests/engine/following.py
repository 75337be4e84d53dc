"""Who follows a download, and what is followed: a tiny Stable Diffusion 1.5 on a hub of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from studio.catalog.sd15 import SD15
from studio.engine.downloads import Download
from studio.errors import Cancelled, ModelUnavailable
from studio.events import Downloading, Event
from studio.text import LANGUAGES
from studio.types import Source
from tests.hub import FakeHub

HUB = Source("huggingface", "some/repo")
SPEC = replace(SD15, sources=(Source("local", "nowhere"), HUB), bytes_estimate=1_000_000)
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"


@dataclass
class Follower:
    """A context that writes down what is told; on_event may cancel."""

    on_event: Callable[[Downloading], None] = lambda event: None
    cancelled: bool = False
    events: list[Downloading] = field(default_factory=list)
    registry: Any = None

    def emit(self, event: Event) -> None:
        assert isinstance(event, Downloading)
        self.events.append(event)
        self.on_event(event)

    def check_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled


def refusal(download: Download) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as caught:
        download.run(Follower())
    for language in LANGUAGES:
        assert caught.value.message(language)
    return caught.value


def asked_for(hub: FakeHub) -> list[str]:
    return [name for name, _ in hub.requests]


def stop_inside(name: str) -> Follower:
    """A follower who cancels once some of a file has come."""
    follower = Follower()
    seen: list[int] = []

    def look(event: Downloading) -> None:
        if event.file == name:
            seen.append(event.done_bytes)
            follower.cancelled = event.done_bytes > seen[0]

    follower.on_event = look
    return follower


def partials(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*.studio-part") if path.stat().st_size]
