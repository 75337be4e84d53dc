"""Models from a hub: against a hub on this machine that answers as the real one does."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from studio.engine.downloads import Download, Downloads
from studio.engine.generate import Generation
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.errors import Cancelled, ModelUnavailable, StudioError
from studio.events import Done, Stopped
from studio.types import Family, GenerationRequest, ModelSpec, PipelineKey
from tests.hub import COMMIT, FakeHub

from .conftest import LIMIT_BYTES, Listener
from .following import HUB, SPEC, UNET, Follower, asked_for, partials, stop_inside

PATIENCE_SECONDS = 30


def test_a_downloaded_model_draws_through_the_engine(
    download: Download, tmp_path: Path, families: tuple[Family, ...], request_for: Callable[..., GenerationRequest]
) -> None:
    source = download.run(Follower())
    assert source == replace(HUB, revision=COMMIT)
    own = tuple(replace(family, specs=(SPEC,)) for family in families if family.id == "sd15")
    registry = Registry(own, FolderLoader(tmp_path, cache_dir=tmp_path / "cache"), LIMIT_BYTES)
    assert Generation(request_for("sd15")).run(Listener(registry)).images


def test_the_commit_is_recorded_and_loaded_when_the_branch_moves_on(
    download: Download, hub: FakeHub, tmp_path: Path
) -> None:
    download.run(Follower())
    loader = FolderLoader(tmp_path, cache_dir=tmp_path / "cache")
    hub.commit = "f" * 40
    assert loader(SPEC, PipelineKey("sd15")).source.revision == COMMIT
    download.run(Follower())
    assert loader(SPEC, PipelineKey("sd15")).source.revision == "f" * 40


def test_other_programs_find_it_offline(
    download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    from diffusers import StableDiffusionPipeline
    from huggingface_hub import try_to_load_from_cache

    download.run(Follower())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cache = str(tmp_path / "cache")
    found = try_to_load_from_cache("some/repo", UNET, cache_dir=cache)
    assert Path(str(found)).read_bytes() == (repository / UNET).read_bytes()
    pipeline = StableDiffusionPipeline.from_pretrained(
        "some/repo", cache_dir=cache, variant="fp16", safety_checker=None, local_files_only=True
    )
    assert pipeline.unet.config.cross_attention_dim == 32


def test_only_what_loading_reads_is_asked_for(download: Download, hub: FakeHub) -> None:
    download.run(Follower())
    names = asked_for(hub)
    assert len(names) == len(set(names))
    assert UNET in names
    assert not [name for name in names if not name.endswith((".json", ".txt", ".fp16.safetensors"))]
    assert not [name for name in names if "safety_checker" in name]


def test_a_repository_without_half_precision_gives_its_plain_weights(download: Download, hub: FakeHub) -> None:
    hub.files = {name: data for name, data in hub.files.items() if "fp16" not in name}
    download.run(Follower())
    assert "unet/diffusion_pytorch_model.safetensors" in asked_for(hub)


def test_progress_ends_at_the_bytes_that_were_sent_and_never_goes_back(download: Download, hub: FakeHub) -> None:
    follower = Follower()
    download.run(follower)
    done = [event.done_bytes for event in follower.events]
    contents = {hub.files[name] for name in asked_for(hub)}
    assert follower.events[-1].total_bytes == done[-1] == sum(map(len, contents))
    assert done == sorted(done)
    assert len(set(done)) > 10
    assert {event.model_id for event in follower.events} == {"sd15"}


def test_a_stopped_download_goes_on_where_it_was(download: Download, hub: FakeHub, tmp_path: Path) -> None:
    hub.held = UNET
    with pytest.raises(Cancelled):
        download.run(stop_inside(UNET))
    (partial,) = partials(tmp_path)
    have = partial.stat().st_size
    assert 0 < have < len(hub.files[UNET])
    hub.hold.set()
    before = asked_for(hub)
    follower = Follower()
    download.run(follower)
    again = hub.requests[len(before) :]
    assert again[0] == (UNET, f"bytes={have}-")
    assert not set(before[:-1]) & {name for name, _ in again}
    assert follower.events[0].done_bytes >= have
    assert partials(tmp_path) == []
    assert FolderLoader(tmp_path, cache_dir=tmp_path / "cache").look(SPEC, "float32")


def test_until_it_is_whole_the_model_is_not_offered(download: Download, hub: FakeHub, tmp_path: Path) -> None:
    hub.held = UNET
    with pytest.raises(Cancelled):
        download.run(stop_inside(UNET))
    with pytest.raises(ModelUnavailable):
        FolderLoader(tmp_path, cache_dir=tmp_path / "cache").look(SPEC, "float32")


def test_what_another_program_has_downloaded_is_not_asked_for_again(
    download: Download, hub: FakeHub, tmp_path: Path
) -> None:
    from huggingface_hub import hf_hub_download

    download.run(Follower())
    shutil.rmtree(tmp_path / "cache" / "models--some--repo" / "snapshots")
    hub.requests.clear()
    download.run(Follower())
    assert hub.requests == []
    assert hf_hub_download("some/repo", UNET, cache_dir=tmp_path / "cache", revision=COMMIT, local_files_only=True)


@pytest.fixture
def lane(download: Download) -> Iterator[Downloads]:
    running = Downloads(lambda spec: replace(download, spec=spec))
    yield running
    running.close()


def test_however_many_ask_a_model_is_downloaded_once(lane: Downloads, hub: FakeHub) -> None:
    hub.held = UNET
    first, second = lane.start(SPEC), lane.start(SPEC)
    assert first is second
    hub.hold.set()
    assert isinstance(list(first.tail(PATIENCE_SECONDS))[-1], Done)
    assert asked_for(hub).count(UNET) == 1


def test_a_download_can_be_stopped_and_started_again(lane: Downloads, hub: FakeHub) -> None:
    hub.held = UNET
    first = lane.start(SPEC)
    while not hub.requests:
        assert not first.finished
    threading.Timer(0.3, lambda: hub.hold.set()).start()
    lane.stop(SPEC.id)
    assert list(first.tail(PATIENCE_SECONDS))[-1] == Stopped()
    again = lane.start(SPEC)
    assert again is not first
    assert isinstance(list(again.tail(PATIENCE_SECONDS))[-1], Done)
    assert lane.job(SPEC.id) is again


def test_stopping_what_does_not_run_changes_nothing(lane: Downloads) -> None:
    lane.stop("nothing")
    assert lane.job("nothing") is None


def test_a_download_that_failed_says_why_and_can_be_started_again(lane: Downloads, hub: FakeHub) -> None:
    hub.api_status, hub.api_error = 403, "GatedRepo"
    failed = list(lane.start(SPEC).tail(PATIENCE_SECONDS))[-1]
    assert isinstance(failed.error, StudioError)
    hub.api_status, hub.api_error = 200, ""
    assert isinstance(list(lane.start(SPEC).tail(PATIENCE_SECONDS))[-1], Done)


def test_every_downloadable_model_of_the_catalog_names_its_source() -> None:
    from studio.catalog import specs
    from studio.engine.downloads import hub_source

    loadable: list[ModelSpec] = [spec for spec in specs().values() if spec.download_bytes]
    assert {spec.id for spec in loadable} >= {"sd15", "sdxl", "sdxl-turbo"}
    assert all(hub_source(spec).repo for spec in loadable)
