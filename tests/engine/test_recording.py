"""A job of kind generation writes itself into the history, and the history never stops a job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from studio.engine import store as store_module
from studio.engine.generate import Generation
from studio.engine.jobs import Job, JobQueue
from studio.engine.record import State
from studio.engine.store import Store
from studio.errors import GenerationFailed, StudioError
from studio.events import Context, Done, Event, Failed, GenerationResult, Stopped
from tests.engine.histories import drawn, wish

SECONDS = 10.0


@dataclass(frozen=True)
class Drawing(Generation):
    """A generation without a model. It waits until it may end, or is cancelled."""

    error: Exception | None = None
    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def run(self, context: Context) -> GenerationResult:
        self.begun.set()
        while not self.may_end.wait(0.01):
            context.check_cancelled()
        if self.error is not None:
            raise self.error
        return drawn(self.request)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "history", 10**9)
    yield store
    store.close()


@pytest.fixture
def queue(store: Store) -> Iterator[JobQueue]:
    queue = JobQueue(SimpleNamespace(device="cpu"), store)  # type: ignore[arg-type]
    yield queue
    queue.close()


def ready(error: Exception | None = None) -> Drawing:
    work = Drawing(wish(), error)
    work.may_end.set()
    return work


def end(job: Job) -> Event:
    return list(job.tail(SECONDS))[-1]


def result_of(job: Job) -> GenerationResult:
    final = end(job)
    assert isinstance(final, Done)
    return final.result  # type: ignore[no-any-return]


def test_what_is_told_as_done_is_kept_already(queue: JobQueue, store: Store):
    job = queue.submit(ready(), "me", keep=True)
    result = result_of(job)
    record = store.get(result.record_id, "me")
    assert (record.id, record.state) == (job.id, State.DONE)
    assert record.pictures[0].path.is_file()


def test_a_waiting_and_a_running_job_say_so(queue: JobQueue, store: Store):
    running, waiting = Drawing(wish()), Drawing(wish())
    jobs = [queue.submit(work, "me", keep=True) for work in (running, waiting)]
    assert running.begun.wait(SECONDS)
    assert [store.get(job.id, "me").state for job in jobs] == [State.RUNNING, State.QUEUED]


def test_a_failure_is_remembered_by_its_key(queue: JobQueue, store: Store):
    job = queue.submit(ready(GenerationFailed("out_of_memory", device="cpu")), "me", keep=True)
    assert isinstance(end(job), Failed)
    assert (store.get(job.id, "me").state, store.get(job.id, "me").error) == (State.FAILED, "out_of_memory")


def test_a_stop_is_remembered_whether_it_waited_or_ran(queue: JobQueue, store: Store):
    running, waiting = Drawing(wish()), Drawing(wish())
    jobs = [queue.submit(work, "me", keep=True) for work in (running, waiting)]
    assert running.begun.wait(SECONDS)
    for job in reversed(jobs):
        queue.cancel(job.id, "me")
        assert end(job) == Stopped()
    assert {store.get(job.id, "me").state for job in jobs} == {State.STOPPED}


def test_what_is_not_to_be_kept_is_not_kept(queue: JobQueue, store: Store, tmp_path: Path):
    assert result_of(queue.submit(ready(), "me")).record_id == ""
    assert list(tmp_path.iterdir()) == []


def test_a_queue_without_a_history_works():
    queue = JobQueue(SimpleNamespace(device="cpu"))  # type: ignore[arg-type]
    assert result_of(queue.submit(ready(), "me", keep=True)).record_id == ""
    queue.close()


def test_a_refused_job_leaves_no_record(store: Store):
    queue = JobQueue(SimpleNamespace(device="cpu"), store, max_queued_per_owner=0)  # type: ignore[arg-type]
    with pytest.raises(StudioError):
        queue.submit(ready(), "me", keep=True)
    with store._session() as database:
        assert database.execute("SELECT COUNT(*) FROM generations").fetchone()[0] == 0
    queue.close()


@pytest.mark.parametrize(
    ("error", "note"), [(OSError(28, "No space left on device"), "disk_full"), (ValueError("odd"), "not_kept")]
)
def test_a_picture_that_cannot_be_kept_is_shown_with_a_note_and_the_next_is_kept(
    queue: JobQueue, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, note: str
):
    def fail(path: Any, data: bytes) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_atomically", fail)
        result = result_of(queue.submit(ready(), "me", keep=True))
    assert (len(result.images), result.record_id, result.notes[-1]) == (1, "", note)
    assert result_of(queue.submit(ready(), "me", keep=True)).record_id


def test_a_history_that_cannot_even_be_opened_stops_no_job(tmp_path: Path):
    (tmp_path / "history").write_text("a file")
    queue = JobQueue(SimpleNamespace(device="cpu"), Store(tmp_path / "history", 10**9))  # type: ignore[arg-type]
    result = result_of(queue.submit(ready(), "me", keep=True))
    assert (len(result.images), result.notes[-1]) == (1, "not_kept")
    queue.close()
