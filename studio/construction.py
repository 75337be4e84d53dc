"""The one lock around building models and pipelines, and around importing what they are built of.

diffusers, transformers and peft patch classes and globals of torch while they construct or inject modules: two
constructions at once can leave either broken. They also import most of what they hold when it is first asked for, each
of them parts of the others: of two threads that ask at once, one may find a module half made. Hold the lock only for
that, never while a file is downloaded or hashed.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

CONSTRUCTION_LOCK = threading.RLock()


def imported(module: str, name: str) -> Any:
    """A class or a function of one of those libraries, by its module's name and its own. Raises ImportError or
    AttributeError where it is not there."""
    with CONSTRUCTION_LOCK:
        return getattr(importlib.import_module(module), name)
