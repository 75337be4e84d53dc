"""`python -m studio download`: progress on the terminal, and what stands in the way as a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from studio import fetch as fetching
from studio.catalog import specs
from studio.errors import InvalidInput, ModelUnavailable
from studio.events import Context, Downloading, Loading
from studio.fetch import Terminal, fetch
from studio.settings import Settings
from studio.types import ModelSpec, Source


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="sdxl-turbo"):
        fetch("sd2", Settings())


def test_a_model_that_comes_with_the_project_is_on_no_hub() -> None:
    with pytest.raises(ModelUnavailable, match="little-world"):
        fetch("little-world", Settings())


def test_the_owner_of_a_public_studio_downloads_at_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Instant:
        def __init__(self, spec: ModelSpec) -> None:
            self.spec = spec

        def run(self, context: Context) -> Source:
            context.emit(Downloading(self.spec.id, 5_000_000, 10_000_000, "unet/config.json"))
            return replace(self.spec.sources[-1], revision="0123456789abcdef")

    monkeypatch.setattr("studio.engine.downloads.Download", Instant)
    fetch("sdxl", Settings(public=True))
    told = capsys.readouterr().err
    assert "5.0 MB of 10.0 MB (50%)  unet/config.json" in told
    assert "0123456789abcdef" in told


def test_the_terminal_tells_each_file_once_and_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetching.time, "monotonic", lambda: 100.0)
    terminal = Terminal("en")
    for done, file in ((0, "a"), (10, "a"), (20, "a"), (20, "b"), (30, "b")):
        terminal.emit(Downloading("sdxl", done, 30, file))
    terminal.emit(Loading("sdxl"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["a", "b", "b"]


def test_every_model_can_be_named(tmp_path: Path) -> None:
    from studio.build import catalogue

    families = catalogue(Settings(models_dir=tmp_path, public=True))
    assert {spec.id for family in families for spec in family.specs} == set(specs())
