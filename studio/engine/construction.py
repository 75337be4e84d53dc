"""The one lock around building models and pipelines.

diffusers, transformers and peft patch classes and globals of torch while they construct or inject modules: two
constructions at once can leave either broken. Hold it only for that, never while a file is downloaded or hashed.
"""

from __future__ import annotations

import threading

CONSTRUCTION_LOCK = threading.RLock()
