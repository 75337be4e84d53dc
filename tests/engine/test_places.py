"""What is at hand is told without reading weights, and not more often than it changes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from studio.catalog.sd15 import SD15
from studio.catalog.sdxl import SDXL
from studio.engine.downloads import Download
from studio.engine.loaders import FolderLoader
from studio.engine.places import FRESH_SECONDS, Places
from studio.types import Source
from tests.hub import COMMIT

from .following import HUB, SPEC, UNET, Follower

LOCAL = replace(SD15, sources=(Source("local", "sd15"), HUB))
ABSENT = replace(SDXL, sources=(Source("local", "nowhere"), Source("huggingface", "some/other")))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(models_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(models_root / "sd15", tmp_path / "sd15")
    return tmp_path


@pytest.fixture
def places(root: Path, clock: Clock) -> Places:
    specs = {spec.id: spec for spec in (LOCAL, ABSENT)}
    return Places(FolderLoader(root, cache_dir=root / "cache"), specs, clock)


def test_what_lies_here_and_what_does_not_are_told_apart(places: Places, root: Path) -> None:
    here, absent = places.look().values()
    assert (here.present, absent.present) == (True, False)
    assert here.source == Source("local", "sd15")
    assert here.bytes == sum(
        path.stat().st_size for path in (root / "sd15").rglob("*") if path.suffix in (".json", ".safetensors")
    )
    assert absent.problem is not None
    assert absent.problem.key == "not_downloaded"
    assert places.present() == ("sd15",)


def test_a_damaged_model_is_not_offered(places: Places, root: Path) -> None:
    (root / "sd15" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    assert places.present() == ()
    problem = places.look()["sd15"].problem
    assert problem is not None
    assert problem.key == "model_damaged"


def test_a_download_is_offered_only_where_it_would_help(places: Places, root: Path) -> None:
    here, absent = places.look().values()
    assert (here.downloadable, absent.downloadable) == (False, True)
    (root / "sd15" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    assert not places.look(anew=True)["sd15"].downloadable  # the own folder goes before the hub


def test_an_answer_is_given_again_for_a_while(places: Places, root: Path, clock: Clock) -> None:
    assert places.present() == ("sd15",)
    shutil.rmtree(root / "sd15")
    assert places.present() == ("sd15",)
    clock.now += FRESH_SECONDS
    assert places.present() == ()


def test_who_wants_to_know_at_once_has_it_looked_up(places: Places, root: Path) -> None:
    assert places.present() == ("sd15",)
    shutil.rmtree(root / "sd15")
    assert not places.look(anew=True)["sd15"].present


def test_a_downloaded_model_is_told_with_its_commit(download: Download, tmp_path: Path) -> None:
    places = Places(FolderLoader(tmp_path, cache_dir=tmp_path / "cache"), {"sd15": SPEC})
    assert not places.look()["sd15"].present
    download.run(Follower())
    place = places.look(anew=True)["sd15"]
    assert place.source == replace(HUB, revision=COMMIT)
    snapshot = tmp_path / "cache" / "models--some--repo" / "snapshots" / COMMIT
    assert place.bytes > (snapshot / UNET).stat().st_size
