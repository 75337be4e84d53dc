"""What becomes of a job is written into the history, and a history that cannot be written stops no job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from studio.engine.record import State
from studio.engine.store import Store
from studio.errors import StudioError
from studio.events import Done, Event, Failed, GenerationResult, Stopped
from studio.types import GenerationRequest

logger = logging.getLogger(__name__)


class Recording:
    """The record of one job, from its place in the queue to its end. Trouble is logged, and noted at the picture."""

    def __init__(self, store: Store, job_id: str, owner: str, request: GenerationRequest) -> None:
        self._store, self._id = store, job_id
        self._trouble = self._trouble_of(lambda: store.begin(job_id, owner, request))

    def started(self) -> None:
        self._trouble = self._trouble or self._trouble_of(lambda: self._store.run(self._id))

    def refused(self) -> None:
        """The queue would not have the job: there is nothing to remember."""
        self._trouble_of(lambda: self._store.forget(self._id))

    def ended(self, final: Event) -> Event:
        """Write how the job ended. Returns the event to tell: a result says where it is kept, or that it is not."""
        match final:
            case Done(result=GenerationResult() as result):
                return Done(self._kept(result))
            case Failed(error=StudioError(key=key)):
                self._trouble_of(lambda: self._store.fail(self._id, State.FAILED, key))
            case Stopped():
                self._trouble_of(lambda: self._store.fail(self._id, State.STOPPED))
        return final

    def _kept(self, result: GenerationResult) -> GenerationResult:
        trouble = self._trouble or self._trouble_of(lambda: self._store.finish(self._id, result))
        if not trouble:
            return replace(result, record_id=self._id)
        self._trouble_of(lambda: self._store.fail(self._id, State.FAILED, trouble))
        return replace(result, notes=(*result.notes, trouble))

    @staticmethod
    def _trouble_of(write: Callable[[], None]) -> str:
        """Write, and return the key of what hindered it, a sentence under both `note.` and `error.`; or nothing."""
        try:
            write()
        except StudioError as error:
            logger.warning("the history: %s", error)
            return "disk_full" if error.key == "disk_full" else "not_kept"
        except Exception:  # a picture that is drawn is shown, whatever is wrong with the history
            logger.exception("the history could not be written")
            return "not_kept"
        return ""
