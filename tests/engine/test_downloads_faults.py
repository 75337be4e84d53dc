"""What can go wrong with a download is told, and what has come is kept."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from studio.engine.downloads import Download
from studio.engine.loaders import FolderLoader
from studio.errors import Cancelled
from studio.types import PipelineKey, Source
from tests.hub import FakeHub

from .following import SPEC, UNET, Follower, asked_for, partials, refusal, stop_inside


def test_a_connection_that_breaks_off_is_taken_up_again(download: Download, hub: FakeHub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks = 3_000, 4
    download.run(Follower())
    taken_up = [start for _, start in hub.requests if start]
    assert len(taken_up) == 4
    assert taken_up[0] == "bytes=3000-"
    assert FolderLoader(tmp_path, cache_dir=tmp_path / "cache").look(SPEC, "float32")


def test_a_hub_that_begins_anew_is_followed(download: Download, hub: FakeHub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks, hub.ignores_ranges = 3_000, 1, True
    follower = Follower()
    download.run(follower)
    assert follower.events[-1].done_bytes == follower.events[-1].total_bytes
    assert FolderLoader(tmp_path, cache_dir=tmp_path / "cache").look(SPEC, "float32")


def test_a_hub_that_is_busy_is_asked_again(download: Download, hub: FakeHub) -> None:
    waits: list[float] = []
    hub.statuses = [503, 429]
    replace(download, pause=waits.append).run(Follower())
    assert asked_for(hub)[:3] == ["model_index.json"] * 3
    assert len(waits) > 1


def test_a_connection_that_never_brings_anything_is_given_up(download: Download, hub: FakeHub) -> None:
    hub.breaks = 1_000
    error = refusal(download)
    assert (error.key, len(hub.requests)) == ("hub_unreachable", 6)


def test_contents_that_are_not_what_the_hub_said_are_named_and_thrown_away(
    download: Download, hub: FakeHub, tmp_path: Path
) -> None:
    right = hub.files[UNET]
    listing = hub.listing()
    hub.files[UNET] = right[:-1] + bytes([right[-1] ^ 1])
    hub.listing = lambda: listing  # type: ignore[method-assign]
    error = refusal(download)
    assert (error.key, error.values["file"]) == ("download_damaged", UNET)
    assert partials(tmp_path) == []
    hub.files[UNET] = right
    download.run(Follower())


@pytest.mark.parametrize("change", [lambda data: data[:-100], lambda data: data + b"more" * 100])
def test_contents_of_another_length_come_to_an_end(
    download: Download, hub: FakeHub, change: Callable[[bytes], bytes]
) -> None:
    listing = hub.listing()
    hub.files[UNET] = change(hub.files[UNET])
    hub.listing = lambda: listing  # type: ignore[method-assign]
    assert refusal(download).key == "download_damaged"


def test_a_rest_from_another_time_is_thrown_away(download: Download, hub: FakeHub, tmp_path: Path) -> None:
    hub.held = UNET
    with pytest.raises(Cancelled):
        download.run(stop_inside(UNET))
    (partial,) = partials(tmp_path)
    partial.write_bytes(b"\0" * partial.stat().st_size)
    hub.hold.set()
    assert refusal(download).key == "download_damaged"
    download.run(Follower())


def test_offline_says_what_to_set(download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = refusal(download)
    assert error.key == "hub_offline"
    assert "HF_HUB_OFFLINE" in error.message("en")


def test_a_hub_that_cannot_be_reached_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    error = refusal(Download(SPEC, tmp_path, "http://127.0.0.1:9", pause=lambda seconds: None))
    assert error.key == "hub_unreachable"
    assert "HF_ENDPOINT" in error.message("zh")


@pytest.mark.parametrize(
    ("status", "code", "key"),
    [
        (403, "GatedRepo", "hub_refused"),
        (404, "RepoNotFound", "hub_unknown"),
        (404, "RevisionNotFound", "hub_unknown"),
        (500, "", "hub_unreachable"),
    ],
)
def test_what_the_hub_refuses_is_explained(
    download: Download, hub: FakeHub, status: int, code: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.api_status, hub.api_error = status, code
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert refusal(download).key == key


@pytest.mark.parametrize(
    "source",
    [
        Source("modelscope", "some/repo"),
        Source("huggingface", "some/repo", filename="x.safetensors"),
        Source("local", "x"),
    ],
)
def test_what_cannot_be_downloaded_yet_is_told(download: Download, source: Source) -> None:
    error = refusal(replace(download, spec=replace(SPEC, sources=(source,))))
    assert error.key in ("hub_not_supported", "single_file_not_supported", "not_on_a_hub")


def test_a_repository_that_wants_its_own_code_is_refused_before_its_weights_come(
    download: Download, hub: FakeHub
) -> None:
    index = hub.files["model_index.json"].replace(b'"diffusers",\n    "UNet2DConditionModel"', b'"unet.py",\n    "U"')
    assert b"unet.py" in index
    hub.files["model_index.json"] = index
    assert refusal(download).key == "model_refused"
    assert asked_for(hub) == ["model_index.json"]


def test_a_repository_without_safetensors_is_refused_before_its_weights_come(download: Download, hub: FakeHub) -> None:
    hub.files = {name: data for name, data in hub.files.items() if not name.startswith("vae/") or "json" in name}
    error = refusal(download)
    assert (error.key, error.values["missing"]) == ("model_missing", "vae/diffusion_pytorch_model.safetensors")
    assert asked_for(hub) == ["model_index.json"]


def test_a_listing_cannot_write_outside_its_folder(download: Download, hub: FakeHub, tmp_path: Path) -> None:
    listing = hub.listing()
    assert b'"unet/config.json"' in listing
    for evil in (b'"unet/../../../../evil.json"', b'"/tmp/evil.json"', b'"unet/..\\\\\\\\evil.json"'):
        changed = listing.replace(b'"unet/config.json"', evil)
        hub.listing = lambda changed=changed: changed  # type: ignore[method-assign]
        assert refusal(download).values["missing"] == "unet/config.json"
    assert not list(tmp_path.rglob("*evil*"))


def test_a_full_disk_is_told_before_anything_comes(
    download: Download, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10_000))
    error = refusal(download)
    assert error.key == "no_disk_space"
    assert asked_for(hub) == ["model_index.json"]


def test_a_disk_that_fills_up_on_the_way_is_told(
    download: Download, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, chunks: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("studio.engine.remote._Partial.write", fail)
    assert refusal(download).key == "download_disk_full"


def test_another_process_at_the_same_repository_is_told(download: Download, tmp_path: Path) -> None:
    from filelock import FileLock

    folder = tmp_path / "cache" / "models--some--repo"
    folder.mkdir(parents=True)
    with FileLock(folder / "studio.lock"):
        assert refusal(download).key == "download_elsewhere"


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_another_download_repairs_what_was_damaged_on_the_disk(
    download: Download, hub: FakeHub, tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    download.run(Follower())
    (snapshot,) = (tmp_path / "cache" / "models--some--repo" / "snapshots").iterdir()
    blob = (snapshot / UNET).resolve()
    blob.write_bytes(harm(blob.read_bytes()))
    hub.requests.clear()
    download.run(Follower())
    assert asked_for(hub) == [UNET]
    assert FolderLoader(tmp_path, cache_dir=tmp_path / "cache")(SPEC, PipelineKey("sd15")).bytes
