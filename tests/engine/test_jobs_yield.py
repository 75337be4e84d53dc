"""A long work lets the pictures that wait be drawn between its steps, on the same device and never beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from studio.engine.generate import Generation
from studio.engine.jobs import Job, JobQueue
from studio.engine.registry import Registry
from studio.events import Context, Done, Event, Failed, Queued, Row, Stopped
from studio.types import GenerationRequest

SECONDS = 30.0


@dataclass
class Training:
    """Long work of so many steps. It begins a step when it is let, and yields after each."""

    steps: int = 3
    long = True
    log: list[str] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    let: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    jobs: list[Job] = field(default_factory=list)

    def run(self, context: Context) -> str:
        for step in range(self.steps):
            self.begun.set()
            assert self.let.acquire(timeout=SECONDS)
            self.log.append(f"step {step}")
            context.emit(Row({"step": step}))
            context.yield_device()
        return "trained"


@dataclass(frozen=True)
class Call:
    """Short work that calls a function."""

    function: Callable[[Context], Any]

    def run(self, context: Context) -> Any:
        return self.function(context)


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue(SimpleNamespace(device="cpu"))  # type: ignore[arg-type]
    yield queue
    queue.close()


@pytest.fixture
def training(queue: JobQueue) -> Training:
    """A training that has begun its first step."""
    work = Training()
    work.jobs.append(queue.submit(work, "trainer"))
    assert work.begun.wait(SECONDS)
    return work


def job_of(training: Training) -> Job:
    return training.jobs[0]


def end(job: Job) -> Event:
    return list(job.tail(SECONDS))[-1]


def note(training: Training, name: str) -> Call:
    return Call(lambda context: training.log.append(name))


def test_what_waits_is_run_before_the_next_step(queue: JobQueue, training: Training) -> None:
    picture = queue.submit(note(training, "picture"), "me")
    training.let.release()
    assert isinstance(end(picture), Done)
    assert training.log == ["step 0", "picture"]
    assert not job_of(training).finished
    training.let.release(2)
    assert end(job_of(training)) == Done("trained")
    assert training.log == ["step 0", "picture", "step 1", "step 2"]


def test_all_that_wait_are_run_in_their_owners_turns(queue: JobQueue, training: Training) -> None:
    for name in ("a1", "a2", "b1"):
        queue.submit(note(training, name), name[0])
    training.let.release(3)
    end(job_of(training))
    assert training.log == ["step 0", "a1", "b1", "a2", "step 1", "step 2"]


def test_what_comes_while_guests_run_waits_for_the_next_step(queue: JobQueue, training: Training) -> None:
    late: list[Job] = []
    queue.submit(Call(lambda context: late.append(queue.submit(note(training, "late"), "me"))), "me")
    training.let.release(3)
    end(job_of(training))
    assert training.log == ["step 0", "step 1", "late", "step 2"]


def test_what_comes_while_guests_run_is_not_taken_in_the_place_of_one(queue: JobQueue, training: Training) -> None:
    queue.submit(Call(lambda context: queue.submit(note(training, "late"), "you")), "me")
    for name in ("second", "third"):
        queue.submit(note(training, name), "me")
    training.let.release(3)
    end(job_of(training))
    assert training.log == ["step 0", "second", "third", "step 1", "late", "step 2"]


def test_another_long_work_waits_for_the_end(queue: JobQueue, training: Training) -> None:
    second = Training(steps=1, log=training.log)
    second.let.release()
    job = queue.submit(second, "another")
    picture = queue.submit(note(training, "picture"), "me")
    assert [one.state.position for one in (picture, job) if isinstance(one.state, Queued)] == [1, 2]
    training.let.release(3)
    assert end(job) == Done("trained")
    assert training.log == ["step 0", "picture", "step 1", "step 2", "step 0"]


def test_never_two_at_once(queue: JobQueue, training: Training) -> None:
    inside, most = 0, 0

    def count(context: Context) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        assert training.log[-1].startswith("step")
        threading.Event().wait(0.005)
        inside -= 1

    submitted = [queue.submit(Call(count), owner) for owner in "abc" for _ in range(3)]
    training.let.release(3)
    assert all(isinstance(end(job), Done) for job in submitted)
    assert most == 1


def test_a_cancelled_training_ends_at_its_next_step(queue: JobQueue, training: Training) -> None:
    queue.cancel(job_of(training).id, "trainer")
    training.let.release()
    assert end(job_of(training)) == Stopped()
    assert training.log == ["step 0"]
    assert end(queue.submit(note(training, "after"), "me")) == Done(None)


def test_a_training_that_is_cancelled_while_a_guest_runs_ends_after_it(queue: JobQueue, training: Training) -> None:
    picture = queue.submit(Call(lambda context: queue.cancel(job_of(training).id, "trainer")), "me")
    training.let.release(3)
    assert isinstance(end(picture), Done)
    assert end(job_of(training)) == Stopped()
    assert training.log == ["step 0"]


def test_a_guest_that_is_cancelled_or_fails_leaves_the_training(queue: JobQueue, training: Training) -> None:
    def cancel_oneself(context: Context) -> None:
        queue.cancel(stopped.id, "me")
        context.check_cancelled()

    def fail(context: Context) -> None:
        raise ValueError("boom")

    stopped = queue.submit(Call(cancel_oneself), "me")
    failed = queue.submit(Call(fail), "me")
    training.let.release(3)
    assert end(stopped) == Stopped()
    assert isinstance(end(failed), Failed)
    assert end(job_of(training)) == Done("trained")


def test_a_guest_does_not_have_guests(queue: JobQueue, training: Training) -> None:
    def yielding(context: Context) -> None:
        queue.submit(note(training, "another"), "you")
        context.yield_device()
        training.log.append("guest")

    queue.submit(Call(yielding), "me")
    training.let.release(3)
    end(job_of(training))
    assert training.log == ["step 0", "guest", "step 1", "another", "step 2"]


def test_a_guest_sees_nothing_of_what_the_training_has_set_in_torch(queue: JobQueue) -> None:
    seen: list[tuple[bool, bool]] = []

    def look(context: Context) -> None:
        seen.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))

    def train(context: Context) -> None:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            queue.submit(Call(look), "me")
            context.yield_device()

    end(queue.submit(Call(train), "trainer"))
    assert seen == [(True, False)]


def test_a_picture_does_not_wait_for_the_rest_of_a_training(queue: JobQueue) -> None:
    first = queue.submit(Call(lambda context: None), "me")
    end(first)
    work = Training()
    queue.submit(work, "trainer")
    assert work.begun.wait(SECONDS)
    waiting = queue.submit(Call(lambda context: None), "me").state
    assert isinstance(waiting, Queued)
    assert waiting.position == 1
    assert waiting.estimate_seconds == 0.0
    work.let.release(3)


def test_closing_stops_a_training_and_its_guests(training: Training, queue: JobQueue) -> None:
    waiting = queue.submit(note(training, "never"), "me")
    closing = threading.Thread(target=queue.close)
    closing.start()
    training.let.release(3)
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert (job_of(training).state, waiting.state) == (Stopped(), Stopped())


def test_a_picture_asked_for_in_mid_training_is_drawn_before_its_end(
    registry: Registry, request_for: Callable[..., GenerationRequest]
) -> None:
    queue = JobQueue(registry)
    try:
        training = Training()
        job = queue.submit(training, "trainer")
        assert training.begun.wait(SECONDS)
        picture = queue.submit(Generation(request_for(num_inference_steps=2)), "me")
        training.let.release()
        drawn = end(picture)
        assert isinstance(drawn, Done) and drawn.result.images
        assert not job.finished
        queue.cancel(job.id, "trainer")
        training.let.release()
        assert end(job) == Stopped()
    finally:
        queue.close()
