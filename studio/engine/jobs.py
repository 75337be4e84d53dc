"""One lane per device: works wait their turn, run one at a time, and tell their events to whoever tails them.

Lock discipline. A queue's `_lock` guards who waits, runs and is finished; a job's own condition (`job.py`) its events.
The queue's lock may be held while a job's is taken, never the other way round. A work runs holding neither.

A long work yields: it stands still between two of its steps while those that wait, and are not long themselves, run
as its guests. They have a thread of their own, so that nothing that torch keeps per thread comes to them from it.
"""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import zip_longest

from studio.engine.generate import Generation
from studio.engine.job import Job as Job
from studio.engine.recording import Recording
from studio.engine.registry import Registry
from studio.engine.store import Store
from studio.errors import Cancelled, StudioError
from studio.events import Done, Event, Failed, Queued, Stopped, Work

MAX_QUEUED = 64
MAX_FINISHED = 32
REMEMBERED_DURATIONS = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobContext:
    """What a running work may touch: the models, and its own job's events and stop sign."""

    registry: Registry
    job: Job
    queue: JobQueue

    def emit(self, event: Event) -> None:
        self.job.emit(event)

    def check_cancelled(self) -> None:
        self.job.check_cancelled()

    def yield_device(self) -> None:
        """Let the jobs that wait now, and are not long, run before this one goes on. For the work's own thread."""
        self.job.check_cancelled()
        self.queue.serve_guests(self.job)
        self.job.check_cancelled()


class JobQueue:
    """The works that wait for one device, and the thread that runs them one after another.

    Owners take turns: whoever queues much waits behind whoever queues little. store: the history of what is to be
    kept. It is written without any lock of the queue, before the end of a job is told.
    """

    def __init__(self, registry: Registry, store: Store | None = None, max_queued_per_owner: int = 4) -> None:
        self._registry = registry
        self._store = store
        self._max_queued_per_owner = max_queued_per_owner
        self._lock = threading.Condition()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._running: list[_Running] = []
        self._durations: dict[type[Work], deque[float]] = {}
        self._closed = False
        self._worker = threading.Thread(target=self._serve, name=f"jobs-{registry.device}", daemon=True)
        self._worker.start()

    def submit(self, work: Work, owner: str, keep: bool = False) -> Job:
        """Queue a work. Raises StudioError if the owner, or everybody together, has too many waiting.

        keep: whether the history remembers it for its owner, if it is a generation.
        """
        job = Job(work, owner)
        if keep and self._store is not None and isinstance(work, Generation):
            job.recording = Recording(self._store, job.id, owner, work.request)
        try:
            self._enqueue(job)
        except StudioError:
            if job.recording is not None:
                job.recording.refused()
            raise
        return job

    def _enqueue(self, job: Job) -> None:
        """Let a job wait, if there is room for it."""
        owner = job.owner
        with self._lock:
            if self._closed:
                raise StudioError("queue_closed")
            if len(self._waiting.get(owner, ())) >= self._max_queued_per_owner:
                raise StudioError("queue_full_owner", maximum=self._max_queued_per_owner)
            if sum(map(len, self._waiting.values())) >= MAX_QUEUED:
                raise StudioError("queue_full", maximum=MAX_QUEUED)
            self._jobs[job.id] = job
            self._waiting.setdefault(owner, deque()).append(job)
            self._tell_positions()
            self._lock.notify_all()

    def get(self, job_id: str) -> Job:
        """A job that waits, runs or was finished not long ago. Raises StudioError."""
        with self._lock:
            if job_id not in self._jobs:
                raise StudioError("unknown_job")
            return self._jobs[job_id]

    def cancel(self, job_id: str, owner: str) -> None:
        """Stop one's own job: at once if it waits, at its next step if it runs.

        Raises StudioError for a job that is not there or another's, in the same words.
        """
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.owner != owner:
                raise StudioError("unknown_job")
            job.request_stop()
            waits = job in self._waiting.get(owner, ())
            if waits:
                self._withdraw(job)
                self._tell_positions()
        if waits and job.recording is not None:
            job.recording.ended(Stopped())

    def close(self) -> None:
        """Stop every job and the worker, and wait until the running step is over."""
        with self._lock:
            self._closed = True
            for job in self._order():
                self._withdraw(job)
            for running in self._running:
                running.job.request_stop()
            self._lock.notify_all()
        self._worker.join()

    def serve_guests(self, host: Job) -> None:
        """Run the jobs that wait now and are not long, one after another, while `host` stands still.

        Those that come meanwhile wait for the host's next step, so that it goes on however many come.
        """
        with self._lock:
            may_have_guests = [one.job for one in self._running] == [host]
            guests = [job.id for job in self._order() if may_have_guests and not is_long(job.work)]
        if guests:
            thread = threading.Thread(target=self._serve_these, args=(guests,), name="job-guests", daemon=True)
            thread.start()
            thread.join()

    def _serve_these(self, job_ids: list[str]) -> None:
        """Run those of these jobs that still wait, each in its owner's turn."""
        for _ in job_ids:
            with self._lock:
                job = next((job for job in self._order() if job.id in job_ids), None)
                if job is None:
                    return
                self._begin(job)
            self._run_to_end(job)

    def _serve(self) -> None:
        """Run jobs until the queue is closed."""
        while (job := self._take()) is not None:
            self._run_to_end(job)

    def _run_to_end(self, job: Job) -> None:
        """Run a job that has begun, and tell its end."""
        final = self._run(job)
        with self._lock:
            seconds = self._running.pop().seconds
            if self._running:
                self._running[-1].guests_seconds += seconds
            if isinstance(final, Done):
                kept = self._durations.setdefault(type(job.work), deque(maxlen=REMEMBERED_DURATIONS))
                kept.append(seconds)
            self._finish(job, final)
            self._tell_positions()

    def _take(self) -> Job | None:
        """The next job, once there is one: the first of the owner whose turn it is. None when closed."""
        with self._lock:
            self._lock.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            job = self._order()[0]
            self._begin(job)
            return job

    def _begin(self, job: Job) -> None:
        """Take a job out of the waiting ones to run it; its owner's turn is over. With the lock held."""
        owner, jobs = job.owner, self._waiting[job.owner]
        jobs.remove(job)
        self._waiting.move_to_end(owner)
        if not jobs:
            del self._waiting[owner]
        self._running.append(_Running(job))
        self._tell_positions()

    def _run(self, job: Job) -> Event:
        """Run a job's work to its end, whatever that is, and let the history know."""
        if job.recording is None:
            return self._outcome(job)
        job.recording.started()
        return job.recording.ended(self._outcome(job))

    def _outcome(self, job: Job) -> Event:
        """How a job's work ended."""
        try:
            return Done(job.work.run(JobContext(self._registry, job, self)))
        except Cancelled:
            return Stopped()
        except StudioError as error:
            # A copy: the raised one holds frames, and they hold tensors.
            return Failed(type(error)(error.key, **error.values))
        except BaseException as error:  # even SystemExit: the next job needs this thread
            logger.exception("a job of %s failed", type(job.work).__name__)
            return Failed(StudioError("unexpected", kind=type(error).__name__))

    def _withdraw(self, job: Job) -> None:
        """Take a job out of the waiting ones and end it as Stopped."""
        self._waiting[job.owner].remove(job)
        if not self._waiting[job.owner]:
            del self._waiting[job.owner]
        self._finish(job, Stopped())

    def _finish(self, job: Job, final: Event) -> None:
        """Tell the final event, and forget the oldest finished jobs beyond what is kept."""
        job.emit(final)
        self._jobs.move_to_end(job.id)
        finished = [one.id for one in self._jobs.values() if one.finished]
        for job_id in finished[:-MAX_FINISHED]:
            del self._jobs[job_id]

    def _order(self) -> list[Job]:
        """The waiting jobs as they will be taken: one of each owner in turn, long ones last while a long one runs."""
        in_turn = [job for turn in zip_longest(*self._waiting.values()) for job in turn if job is not None]
        if any(is_long(running.job.work) for running in self._running):
            return sorted(in_turn, key=lambda job: is_long(job.work))
        return in_turn

    def _tell_positions(self) -> None:
        """Tell every waiting job how many are before it, and how long they may take judging by the last ones.

        A long one that runs makes the others wait for its step alone.
        """
        position = len(self._running)
        seconds = sum((self._remaining_seconds(one) for one in self._running if not is_long(one.job.work)), 0.0)
        long_seconds = sum((self._remaining_seconds(one) for one in self._running if is_long(one.job.work)), 0.0)
        for job in self._order():
            if is_long(job.work):
                seconds, long_seconds = seconds + long_seconds, 0.0
            job.emit(Queued(position, seconds if math.isfinite(seconds) else None))
            position += 1
            seconds += self._expected_seconds(job)

    def _remaining_seconds(self, running: _Running) -> float:
        """What a job that runs may still take."""
        return max(0.0, self._expected_seconds(running.job) - running.seconds)

    def _expected_seconds(self, job: Job) -> float:
        """The median of the last works of this kind; infinite before the first is done."""
        return statistics.median(self._durations.get(type(job.work), (math.inf,)))


@dataclass
class _Running:
    """A job that runs or, below another, stands still for its guests."""

    job: Job
    since: float = field(default_factory=time.monotonic)
    guests_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """For how long it has run itself."""
        return time.monotonic() - self.since - self.guests_seconds


def is_long(work: Work) -> bool:
    """Whether a work takes minutes and yields the device between its steps."""
    return bool(getattr(work, "long", False))
