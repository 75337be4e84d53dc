"""Keeps generations in the history of a folder until it is killed: python saver.py FOLDER FIRST_NUMBER."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from studio.engine.store import Store
from tests.engine.histories import drawn, wish

store = Store(Path(sys.argv[1]), limit_bytes=300_000)
result = drawn(wish(num_images=2))
store.list("me", 1)
print("ready", flush=True)
for number in itertools.count(int(sys.argv[2])):
    store.begin(f"r{number}", "me", result.request)
    store.run(f"r{number}")
    store.finish(f"r{number}", result)
