"""A work on its way through the queue, and what it tells on the way."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

from studio.engine.recording import Recording
from studio.errors import Cancelled
from studio.events import FINAL_EVENTS, Event, Row, Work


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
