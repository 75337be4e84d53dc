"""One lane per device: works wait their turn, run one at a time, and tell their events to whoever tails them.

Lock discipline. A queue's `_lock` guards who waits, runs and is finished; a job's own condition guards its events.
The queue's lock may be held while a job's is taken, never the other way round. A work runs holding neither.
"""

from __future__ import annotations

import logging
import math
import secrets
import statistics
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from studio.engine.generate import Generation
from studio.engine.recording import Recording
from studio.engine.registry import Registry
from studio.engine.store import Store
from studio.errors import Cancelled, StudioError
from studio.types import FINAL_EVENTS, Done, Event, Failed, Queued, Row, Stopped, Work

MAX_QUEUED = 64
MAX_FINISHED = 32
REMEMBERED_DURATIONS = 20

logger = logging.getLogger(__name__)


class Job:
    """A work on its way through the queue. Its id cannot be guessed: who knows it may look."""

    def __init__(self, work: Work, owner: str) -> None:
        self.id = secrets.token_hex(16)
        self.owner = owner
        self.work = work
        self.recording: Recording | None = None
        self._changed = threading.Condition()
        self._rows: list[Row] = []
        self._state: Event | None = None
        self._states_told = 0
        self._cancelled = threading.Event()

    @property
    def state(self) -> Event | None:
        """The newest event that is not a Row."""
        with self._changed:
            return self._state

    @property
    def finished(self) -> bool:
        return isinstance(self.state, FINAL_EVENTS)

    def emit(self, event: Event) -> None:
        """Tell an event. Rows are all kept; of the others only the newest. After a final event nothing counts."""
        with self._changed:
            if isinstance(self._state, FINAL_EVENTS):
                return
            if isinstance(event, Row):
                self._rows.append(event)
            else:
                self._state = event
                self._states_told += 1
            self._changed.notify_all()

    def tail(self, timeout_seconds: float | None = None) -> Iterator[Event]:
        """All rows so far and the present state, then what comes, until a final event.

        Who reads slowly misses states, never the newest and never a row. Ends early when nothing new came for
        `timeout_seconds`; tail again to go on. Any number of readers, each from its own start.
        """
        rows_read = states_read = 0

        def is_news() -> bool:
            return len(self._rows) > rows_read or self._states_told > states_read

        while True:
            with self._changed:
                self._changed.wait_for(is_news, timeout_seconds)
                rows = self._rows[rows_read:]
                state = self._state if self._states_told > states_read else None
                rows_read, states_read = len(self._rows), self._states_told
            yield from rows
            if state is not None:
                yield state
            if isinstance(state, FINAL_EVENTS) or (state is None and not rows):
                return

    def request_stop(self) -> None:
        """Ask the work to stop at its next step."""
        self._cancelled.set()

    def check_cancelled(self) -> None:
        """Raise Cancelled if the job was asked to stop."""
        if self._cancelled.is_set():
            raise Cancelled


@dataclass(frozen=True)
class JobContext:
    """What a running work may touch: the models, and its own job's events and stop sign."""

    registry: Registry
    job: Job

    def emit(self, event: Event) -> None:
        self.job.emit(event)

    def check_cancelled(self) -> None:
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
        self._running: Job | None = None
        self._running_since = 0.0
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
            if self._running is not None:
                self._running.request_stop()
            self._lock.notify_all()
        self._worker.join()

    def _serve(self) -> None:
        """Run jobs until the queue is closed."""
        while (job := self._take()) is not None:
            final = self._run(job)
            with self._lock:
                seconds = time.monotonic() - self._running_since
                self._running = None
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
            owner, jobs = next(iter(self._waiting.items()))
            job = jobs.popleft()
            self._waiting.move_to_end(owner)
            if not jobs:
                del self._waiting[owner]
            self._running, self._running_since = job, time.monotonic()
            self._tell_positions()
            return job

    def _run(self, job: Job) -> Event:
        """Run a job's work to its end, whatever that is, and let the history know."""
        if job.recording is None:
            return self._outcome(job)
        job.recording.started()
        return job.recording.ended(self._outcome(job))

    def _outcome(self, job: Job) -> Event:
        """How a job's work ended."""
        try:
            return Done(job.work.run(JobContext(self._registry, job)))
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
        """The waiting jobs as they will be taken: one of each owner in turn."""
        return [job for turn in zip_longest(*self._waiting.values()) for job in turn if job is not None]

    def _tell_positions(self) -> None:
        """Tell every waiting job how many are before it, and how long they may take judging by the last ones."""
        position, seconds = 0, 0.0
        if self._running is not None:
            position = 1
            seconds = max(0.0, self._expected_seconds(self._running) - (time.monotonic() - self._running_since))
        for job in self._order():
            job.emit(Queued(position, seconds if math.isfinite(seconds) else None))
            position += 1
            seconds += self._expected_seconds(job)

    def _expected_seconds(self, job: Job) -> float:
        """The median of the last works of this kind; infinite before the first is done."""
        return statistics.median(self._durations.get(type(job.work), (math.inf,)))
