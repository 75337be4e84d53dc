"""The history keeps what it says, for its owner alone, and within its limit."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from studio.engine import store as store_module
from studio.engine.database import SCHEMA_VERSION
from studio.engine.infotext import source_hashes
from studio.engine.record import State
from studio.engine.store import DATABASE, RESERVE, RESERVE_BYTES, Store
from studio.errors import StudioError
from studio.types import GenerationRequest
from tests.engine.histories import drawn, noise, wish

LIMIT_BYTES = 10**9
STRANGE = "a face \U0001f600, a NUL \0, ' OR 1=1 --"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "history", LIMIT_BYTES)
    yield store
    store.close()


def keep(store: Store, record_id: str, owner: str = "me", request: GenerationRequest | None = None) -> None:
    request = request or wish()
    store.begin(record_id, owner, request)
    store.run(record_id)
    store.finish(record_id, drawn(request))


def files(folder: Path) -> list[str]:
    return sorted(path.name for part in ("pictures", "thumbnails") for path in (folder / "history" / part).iterdir())


def reopened(store: Store) -> Store:
    """The store as the next run of the studio finds it."""
    store.close()
    return store


def test_a_finished_generation_comes_back_as_it_was(store: Store):
    keep(store, "a", request=wish(seed=3, num_images=2))
    record = store.get("a", "me")
    assert (record.state, record.request["prompt"], record.request["seed"]) == (State.DONE, "a red ball 红球", 3)
    assert (record.timings.denoise_seconds, record.peak_bytes, record.notes) == (3.0, 5, ("prompt_truncated",))
    for index, picture in enumerate(record.pictures):
        with Image.open(picture.path) as image, Image.open(picture.thumbnail) as small:
            assert image.tobytes() == noise(3 + index).tobytes()
            assert max(small.size) == 64


def test_every_field_of_a_request_is_kept_of_its_pictures_only_the_hash(store: Store):
    request = GenerationRequest("m", "p", 1, task="img2img", init_image=noise(1), mask=noise(2))  # type: ignore[arg-type]
    store.begin("a", "me", request)
    kept = store.get("a", "me").request
    assert {*vars(request)} - {*kept} == {"controls"}
    hashes = {name: kept.pop(name) for name in ("init_image", "mask")}
    assert hashes == source_hashes(request) and hashes["init_image"] != hashes["mask"]
    assert GenerationRequest(**kept) == GenerationRequest("m", "p", 1, task="img2img")  # type: ignore[arg-type]


def test_a_picture_says_how_to_draw_it_alone(store: Store):
    keep(store, "a", request=wish(seed=3, num_images=2))
    with Image.open(store.get("a", "me").pictures[1].path) as image:
        assert json.loads(image.info["studio"])["request"]["seed"] == 4


def test_a_prompt_of_any_characters_is_kept(store: Store):
    keep(store, "a", request=wish(prompt=STRANGE))
    assert store.get("a", "me").request["prompt"] == STRANGE


def test_a_large_picture_has_a_small_thumbnail(store: Store):
    request = wish()
    store.begin("a", "me", request)
    result = drawn(request)
    store.finish("a", type(result)((noise(1, side=600),), request, result.timings, 1))
    with Image.open(store.get("a", "me").pictures[0].thumbnail) as small:
        assert small.size == (256, 256)


def test_the_history_outlives_the_process(store: Store):
    keep(store, "a")
    assert [record.id for record in reopened(store).list("me", 9)] == ["a"]


def test_a_page_of_the_list_is_the_newest_and_the_next_goes_on(store: Store):
    for record_id in "abcde":
        keep(store, record_id)
    first = store.list("me", 2)
    second = store.list("me", 2, before=first[-1].number)
    assert [record.id for record in (*first, *second)] == ["e", "d", "c", "b"]


def test_only_what_has_pictures_is_listed(store: Store):
    store.begin("a", "me", wish())
    store.begin("b", "me", wish())
    store.fail("b", State.FAILED, "out_of_memory")
    assert store.list("me", 9) == ()
    assert (store.get("b", "me").state, store.get("b", "me").error) == (State.FAILED, "out_of_memory")


def test_another_owner_gets_nothing(store: Store):
    keep(store, "a")
    assert store.list("you", 9) == ()


@pytest.mark.parametrize("method", ["get", "delete"])
def test_what_is_anothers_is_refused_in_the_words_for_what_is_not_there(store: Store, method: str):
    keep(store, "a")
    told = []
    for record_id in ("a", "b", "", "../a", "a' OR '1'='1"):
        with pytest.raises(StudioError) as refused:
            getattr(store, method)(record_id, "you")
        told.append((refused.value.key, str(refused.value)))
    assert len(set(told)) == 1
    assert store.get("a", "me").pictures[0].path.is_file()


def test_deleting_removes_the_record_and_its_files(store: Store, tmp_path: Path):
    keep(store, "a", request=wish(num_images=2))
    keep(store, "b")
    store.delete("a", "me")
    assert files(tmp_path) == ["b-0.png", "b-0.webp"]
    with pytest.raises(StudioError):
        store.get("a", "me")


def test_what_still_runs_cannot_be_deleted(store: Store):
    store.begin("a", "me", wish())
    with pytest.raises(StudioError):
        store.delete("a", "me")


def test_the_marks_of_the_eye_are_kept(store: Store):
    keep(store, "a", request=wish(num_images=2))
    assert [picture.marks for picture in store.get("a", "me").pictures] == [None, None]
    store.write_marks("a", [[{"holds": True, "labels": {"zh": "红"}}], []])
    assert [picture.marks for picture in store.get("a", "me").pictures] == [
        ({"holds": True, "labels": {"zh": "红"}},),
        (),
    ]


def test_what_had_not_finished_is_cut_at_the_next_start(store: Store):
    store.begin("a", "me", wish())
    store.begin("b", "me", wish())
    store.run("b")
    assert store.get("b", "me").state is State.RUNNING
    assert {reopened(store).get(record_id, "me").state for record_id in "ab"} == {State.CUT}


def test_a_start_removes_files_without_a_record_and_records_without_their_files(store: Store, tmp_path: Path):
    for record_id in "abc":
        keep(store, record_id)
    store.close()
    pictures = tmp_path / "history" / "pictures"
    for name in (".writing-12", "stranger-0.png"):
        (pictures / name).write_bytes(b"x")
    (pictures / "b-0.png").unlink()
    assert [record.id for record in store.list("me", 9)] == ["c", "a"]
    assert files(tmp_path) == ["a-0.png", "a-0.webp", "c-0.png", "c-0.webp"]


def test_beside_a_running_studio_nothing_is_swept(store: Store, tmp_path: Path):
    store.begin("a", "me", wish())
    other = Store(tmp_path / "history", LIMIT_BYTES)
    assert other.get("a", "me").state is State.QUEUED
    other.close()


def test_the_oldest_make_room_whoever_owns_them(tmp_path: Path):
    store = Store(tmp_path / "history", 60_000)
    for index in range(8):
        keep(store, f"r{index}", owner=f"owner{index}")
        kept = sum((tmp_path / "history" / part / name).stat().st_size for part, name in placed(tmp_path))
        assert kept <= 60_000
    there = [index for index in range(8) if store.list(f"owner{index}", 9)]
    assert there == list(range(8 - len(there), 8))
    assert 1 < len(there) < 8
    store.close()


def placed(folder: Path) -> list[tuple[str, str]]:
    return [(("pictures" if name.endswith("png") else "thumbnails"), name) for name in files(folder)]


def test_what_alone_exceeds_the_limit_is_refused_and_drops_nothing(tmp_path: Path):
    store = Store(tmp_path / "history", 30_000)
    keep(store, "a")
    store.begin("b", "me", wish(num_images=4))
    with pytest.raises(StudioError) as refused:
        store.finish("b", drawn(wish(num_images=4)))
    assert refused.value.key == "history_too_small"
    assert [record.id for record in store.list("me", 9)] == ["a"]
    store.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_no_file_and_the_next_save_works(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    request = wish(num_images=2)
    store.begin("a", "me", request)
    written = 0

    def full(path: Path, data: bytes) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise OSError(code, "No space left on device")
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_atomically", full)
        with pytest.raises(StudioError) as refused:
            store.finish("a", drawn(request))
    assert (refused.value.key, written) == ("disk_full", 3)
    assert files(tmp_path) == []
    keep(store, "b")
    assert [record.id for record in store.list("me", 9)] == ["b"]


def test_a_full_database_is_a_full_disk(store: Store):
    store.begin("a", "me", wish())
    assert store._database is not None
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StudioError) as refused:
        for index in range(1000):
            store.begin(f"r{index}", "me", wish(prompt="x" * 2000))
    assert refused.value.key == "disk_full"
    store._database.execute("PRAGMA max_page_count = 1000000")
    keep(store, "b")


def test_a_folder_that_cannot_be_made_is_told_and_tried_again(tmp_path: Path):
    (tmp_path / "history").write_text("a file")
    store = Store(tmp_path / "history", LIMIT_BYTES)
    with pytest.raises(StudioError) as refused:
        store.list("me", 9)
    assert refused.value.key == "history_unusable"
    (tmp_path / "history").unlink()
    assert store.list("me", 9) == ()
    store.close()


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
def test_a_history_of_another_version_is_refused_by_number(tmp_path: Path, version: int):
    (tmp_path / "history").mkdir()
    database = sqlite3.connect(tmp_path / "history" / DATABASE)
    database.execute(f"PRAGMA user_version = {version}")
    database.close()
    with pytest.raises(StudioError, match=str(version)):
        Store(tmp_path / "history", LIMIT_BYTES).list("me", 9)


def test_nothing_is_written_before_the_first_use(tmp_path: Path):
    Store(tmp_path / "history", LIMIT_BYTES)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_its_users_alone(store: Store, tmp_path: Path):
    store.list("me", 9)
    assert (tmp_path / "history").stat().st_mode & 0o077 == 0


def test_finishing_what_was_never_begun_keeps_no_file(store: Store, tmp_path: Path):
    with pytest.raises(StudioError):
        store.finish("a", drawn(wish()))
    assert files(tmp_path) == []


def test_a_refused_wish_is_forgotten(store: Store):
    store.begin("a", "me", wish())
    store.forget("a")
    with pytest.raises(StudioError):
        store.get("a", "me")


def test_a_deletion_may_use_the_reserve_and_takes_it_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep(store, "a")
    reserve = tmp_path / "history" / RESERVE
    meanwhile: list[bool] = []
    monkeypatch.setattr(store_module, "_remove", lambda paths: meanwhile.append(reserve.exists()))
    store.delete("a", "me")
    assert (meanwhile, reserve.stat().st_size) == ([False], RESERVE_BYTES)
