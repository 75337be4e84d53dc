"""Who looks at a job: one that a closed browser has left is stopped, one whose page is only loaded anew goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from studio.engine.job import Job
from studio.engine.jobs import JobQueue
from studio.errors import StudioError

GRACE_SECONDS = 30.0
"""So long a job goes on while nobody looks: time to load the page anew, or to find the network again."""


class Attendance:
    """Counts who looks at each job, and stops one that nobody has looked at for the grace."""

    def __init__(self, grace_seconds: float = GRACE_SECONDS) -> None:
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()
        self._lookers: Counter[str] = Counter()
        self._timers: dict[str, threading.Timer] = {}

    @contextmanager
    def looking(self, jobs: JobQueue, job: Job) -> Iterator[None]:
        """Look at a job. Leaving never waits, so that a server's own loop may do it."""
        with self._lock:
            self._lookers[job.id] += 1
            if (timer := self._timers.pop(job.id, None)) is not None:
                timer.cancel()
        try:
            yield
        finally:
            self.left(jobs, job)

    def left(self, jobs: JobQueue, job: Job) -> None:
        """Somebody looks no longer, or is about to for the first time; where there is nobody else, the grace begins."""
        with self._lock:
            self._lookers[job.id] -= 1
            if self._lookers[job.id] > 0:
                return
            del self._lookers[job.id]
            if job.finished:
                return
            timer = threading.Timer(self._grace_seconds, self._stop, (jobs, job))
            timer.daemon = True
            self._timers[job.id] = timer
            timer.start()

    def _stop(self, jobs: JobQueue, job: Job) -> None:
        """The grace is over: nobody has come back, or somebody just now."""
        with self._lock:
            self._timers.pop(job.id, None)
            if self._lookers[job.id] > 0 or job.finished:
                return
        try:
            jobs.cancel(job.id, job.owner)
        except StudioError:  # it ended long ago and is not remembered any more
            return
