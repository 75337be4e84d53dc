from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from studio.engine import jobs
from studio.engine.jobs import Job, JobQueue
from studio.errors import GenerationFailed, StudioError
from studio.events import Context, Done, Event, Failed, Loading, Queued, Row, Step, Stopped

SECONDS = 10.0


@dataclass(frozen=True)
class Call:
    """Work that calls a function."""

    function: Callable[[Context], Any]

    def run(self, context: Context) -> Any:
        return self.function(context)


class Gate:
    """Work that says it has begun, waits until it is opened, and stops when cancelled."""

    def __init__(self) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()

    def run(self, context: Context) -> str:
        self.begun.set()
        while not self.opened.wait(0.01):
            context.check_cancelled()
        return "through"


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue(SimpleNamespace(device="cpu"))  # type: ignore[arg-type]
    yield queue
    queue.close()


@pytest.fixture
def busy(queue: JobQueue) -> Gate:
    """A work that holds the device."""
    gate = Gate()
    queue.submit(gate, "holder")
    assert gate.begun.wait(SECONDS)
    return gate


def end(job: Job) -> Event:
    return list(job.tail(SECONDS))[-1]


def key_of(event: Event) -> str:
    assert isinstance(event, Failed)
    assert isinstance(event.error, StudioError)
    return event.error.key


def test_what_a_work_returns_is_told_as_done(queue: JobQueue) -> None:
    assert end(queue.submit(Call(lambda context: 42), "me")) == Done(42)


def test_a_failing_work_does_not_stop_the_worker(queue: JobQueue) -> None:
    def fail(context: Context) -> None:
        raise GenerationFailed("out_of_memory", device="cpu")

    assert key_of(end(queue.submit(Call(fail), "me"))) == "out_of_memory"
    assert end(queue.submit(Call(lambda context: 1), "me")) == Done(1)


@pytest.mark.parametrize("error", [ValueError("secret"), SystemExit(3), RecursionError()])
def test_an_unforeseen_error_is_told_without_its_text(queue: JobQueue, error: BaseException) -> None:
    def fail(context: Context) -> None:
        raise error

    final = end(queue.submit(Call(fail), "me"))
    assert key_of(final) == "unexpected"
    assert isinstance(final, Failed)
    assert "secret" not in str(final.error)
    assert end(queue.submit(Call(lambda context: 1), "me")) == Done(1)


def test_a_failure_keeps_no_frames_alive(queue: JobQueue) -> None:
    def fail(context: Context) -> None:
        raise GenerationFailed("out_of_memory", device="cpu")

    final = end(queue.submit(Call(fail), "me"))
    assert isinstance(final, Failed)
    assert (final.error.__traceback__, final.error.__context__) == (None, None)


def test_never_two_works_at_once(queue: JobQueue) -> None:
    inside, most = 0, 0

    def count(context: Context) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.005)
        inside -= 1

    submitted = [queue.submit(Call(count), owner) for owner in "abc" for _ in range(3)]
    assert all(isinstance(end(job), Done) for job in submitted)
    assert most == 1


def test_owners_take_turns(queue: JobQueue, busy: Gate) -> None:
    order: list[str] = []
    submitted = [
        queue.submit(Call(lambda context, name=name: order.append(name)), name[0])
        for name in ("a1", "a2", "a3", "b1", "c1", "b2")
    ]
    busy.opened.set()
    for job in submitted:
        end(job)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_positions_count_what_runs_and_what_comes_before(queue: JobQueue, busy: Gate) -> None:
    first, second = (queue.submit(Call(lambda context: None), "a") for _ in range(2))
    other = queue.submit(Call(lambda context: None), "b")
    told = [job.state for job in (first, other, second)]
    assert told == [Queued(1), Queued(2), Queued(3)]


def test_the_estimate_comes_from_the_last_works(queue: JobQueue) -> None:
    first = Gate()
    job = queue.submit(first, "a")
    first.opened.set()
    end(job)
    queue.submit(running := Gate(), "a")
    assert running.begun.wait(SECONDS)
    waiting = queue.submit(Gate(), "a").state
    assert isinstance(waiting, Queued)
    assert waiting.estimate_seconds is not None
    assert 0.0 <= waiting.estimate_seconds < SECONDS


def test_an_owner_may_have_four_waiting(queue: JobQueue, busy: Gate) -> None:
    for _ in range(4):
        queue.submit(Call(lambda context: None), "a")
    with pytest.raises(StudioError) as caught:
        queue.submit(Call(lambda context: None), "a")
    assert caught.value.key == "queue_full_owner"
    queue.submit(Call(lambda context: None), "b")


def test_everybody_together_may_not_wait_without_end(
    queue: JobQueue, busy: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_QUEUED", 3)
    for owner in "abc":
        queue.submit(Call(lambda context: None), owner)
    with pytest.raises(StudioError) as caught:
        queue.submit(Call(lambda context: None), "d")
    assert caught.value.key == "queue_full"


def test_cancel_stops_a_running_job(queue: JobQueue) -> None:
    job = queue.submit(gate := Gate(), "me")
    assert gate.begun.wait(SECONDS)
    queue.cancel(job.id, "me")
    assert end(job) == Stopped()


def test_cancel_withdraws_a_waiting_job_at_once(queue: JobQueue, busy: Gate) -> None:
    job = queue.submit(Call(lambda context: None), "me")
    queue.cancel(job.id, "me")
    assert job.state == Stopped()


def test_nobody_cancels_what_is_anothers(queue: JobQueue, busy: Gate) -> None:
    job = queue.submit(Call(lambda context: None), "me")
    with pytest.raises(StudioError) as of_another:
        queue.cancel(job.id, "you")
    with pytest.raises(StudioError) as of_nobody:
        queue.cancel("0" * 32, "you")
    assert str(of_another.value) == str(of_nobody.value)
    assert job.state == Queued(1)


def test_ids_are_128_random_bits(queue: JobQueue) -> None:
    ids = [queue.submit(Call(lambda context: None), str(n)).id for n in range(20)]
    assert len(set(ids)) == 20
    assert all(len(job_id) == 32 for job_id in ids)


def test_a_late_tail_starts_with_every_row_and_the_latest_state(queue: JobQueue) -> None:
    told, go_on = threading.Event(), threading.Event()

    def work(context: Context) -> str:
        context.emit(Loading("x"))
        for index in (1, 2, 3):
            context.emit(Row({"index": index}))
            context.emit(Step(index, 3))
        told.set()
        go_on.wait(SECONDS)
        return "end"

    job = queue.submit(Call(work), "me")
    assert told.wait(SECONDS)
    tail = job.tail(SECONDS)
    assert [next(tail) for _ in range(4)] == [*(Row({"index": index}) for index in (1, 2, 3)), Step(3, 3)]
    go_on.set()
    assert list(tail) == [Done("end")]


def test_several_tails_all_reach_the_end(queue: JobQueue) -> None:
    job = queue.submit(gate := Gate(), "me")
    ends: list[Event] = []
    readers = [threading.Thread(target=lambda: ends.append(end(job))) for _ in range(5)]
    for reader in readers:
        reader.start()
    gate.opened.set()
    for reader in readers:
        reader.join(SECONDS)
    assert ends == [Done("through")] * 5


def test_a_tail_without_news_ends_after_its_timeout(queue: JobQueue, busy: Gate) -> None:
    job = queue.submit(Call(lambda context: None), "me")
    assert list(job.tail(0.01)) == [Queued(1)]
    assert not job.finished


def test_nothing_is_told_after_the_end(queue: JobQueue) -> None:
    job = queue.submit(Call(lambda context: 1), "me")
    end(job)
    job.emit(Step(1, 2))
    assert list(job.tail(SECONDS)) == [Done(1)]


def test_a_finished_job_is_found_until_many_more_are_finished(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_FINISHED", 2)
    done = [queue.submit(Call(lambda context, n=n: n), "me") for n in range(3)]
    for job in done:
        end(job)
    assert queue.get(done[2].id) is done[2]
    with pytest.raises(StudioError) as caught:
        queue.get(done[0].id)
    assert caught.value.key == "unknown_job"


def test_close_ends_what_runs_and_what_waits() -> None:
    queue = JobQueue(SimpleNamespace(device="cpu"))  # type: ignore[arg-type]
    running = queue.submit(gate := Gate(), "me")
    assert gate.begun.wait(SECONDS)
    waiting = queue.submit(Call(lambda context: None), "me")
    queue.close()
    assert (running.state, waiting.state) == (Stopped(), Stopped())
    with pytest.raises(StudioError):
        queue.submit(Call(lambda context: None), "me")
