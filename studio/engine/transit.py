"""Models on their way between the device and the machine's memory.

Moves are one at a time, and none while a model is constructed: both change modules in place. See `shelf.py` for who
guards the entries.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from studio.construction import CONSTRUCTION_LOCK
from studio.engine.budget import Key
from studio.engine.entries import Entry, Leaving, State
from studio.engine.memory import Mover, modules_of

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class Transit:
    """Moves the entries of a shelf. fail: takes an entry off it of which half may be here and half there."""

    def __init__(
        self,
        mover: Mover,
        changed: threading.Condition,
        entries: Mapping[Key, Entry],
        fail: Callable[[Entry], None],
    ) -> None:
        self._mover = mover
        self._changed = changed
        self._entries = entries
        self._fail = fail
        self.moves = 0

    def send_away(self, leaving: Leaving) -> None:
        """Throw away and park what a plan says. Called without the lock."""
        leaving.dropped.clear()  # the last references: their memory is free now
        for entry in leaving.parking:
            self._move(entry, to_device=False)

    def fetch(self, entry: Entry) -> None:
        """Bring a parked model back onto the device. Called without the lock."""
        self._move(entry, to_device=True)

    def release(self) -> None:
        """Give back what failed calls have left."""
        self._mover.release()

    def _move(self, entry: Entry, to_device: bool) -> None:
        """Move an entry and settle it, or fail it where memory is not enough."""
        try:
            with CONSTRUCTION_LOCK:
                if to_device:
                    self._mover.fetch(_modules(entry))
                else:
                    self._mover.park(self._own_modules(entry))
            moved = True
        except Exception as error:
            logger.error("moving %s failed", entry.name, exc_info=error)
            moved = False
        if not moved:  # here, where the failed call's frames and their tensors are gone
            self._fail(entry)
            self._mover.release()
            return
        with self._changed:
            entry.state = State.READY if to_device else State.PARKED
            self.moves += 1
            for one in self._entries.values():  # whoever shares parts with it has them elsewhere now
                one.measure()
            self._changed.notify_all()

    def _own_modules(self, entry: Entry) -> list[torch.nn.Module]:
        """The modules of an entry that none on the device has as well."""
        with self._changed:
            staying = [one for one in self._entries.values() if not one.parked]
        shared = {id(module) for one in staying for module in _modules(one)}
        return [module for module in _modules(entry) if id(module) not in shared]


def _modules(entry: Entry) -> list[torch.nn.Module]:
    return modules_of(entry.value.components) if entry.value is not None else []
