"""The studio's page as `python app.py` serves it; for each line on standard input it prints its registry's counters."""

from __future__ import annotations

import json
import sys

from studio.environment import prepare


def main() -> None:
    prepare()
    from app import serve
    from studio.settings import Settings

    studio, _ = serve(Settings.from_env())
    for _ in sys.stdin:
        snapshot = studio.registry.snapshot()
        told = {"loads": snapshot.misses, "evictions": snapshot.evictions, "bytes": snapshot.bytes}
        print(json.dumps({**told, "resident": [one.base_id for one in snapshot.resident]}), flush=True)


if __name__ == "__main__":
    main()
