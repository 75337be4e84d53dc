"""A process that is killed while it saves leaves nothing half."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from studio.engine.files import TEMPORARY_PREFIX
from studio.engine.record import UNFINISHED, State
from studio.engine.store import Store
from studio.settings import ROOT
from tests.engine.histories import drawn, wish

KILLS = 20
LONGEST_SECONDS = 0.15


def kill_while_saving(folder: Path, first: int, seconds: float) -> None:
    """Let a process save for so long, and end it as a power cut would."""
    command = [sys.executable, "-m", "tests.engine.saver", str(folder), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        process.kill()


@pytest.mark.slow
def test_no_partial_file_is_ever_visible(tmp_path: Path):
    folder, delays, saved, cut = tmp_path / "history", random.Random(5), 0, 0
    whole = [image.tobytes() for image in drawn(wish(num_images=2)).images]
    for kill in range(KILLS):
        kill_while_saving(folder, 10_000 * kill, delays.uniform(0, LONGEST_SECONDS))
        visible = [path for path in (folder / "pictures").iterdir() if not path.name.startswith(TEMPORARY_PREFIX)]
        for path in visible:
            with Image.open(path) as image:
                assert image.tobytes() in whole
        store = Store(folder, limit_bytes=300_000)
        records = store.list("me", 1000)
        named = {path for record in records for one in record.pictures for path in (one.path, one.thumbnail)}
        there = {path for part in ("pictures", "thumbnails") for path in (folder / part).iterdir()}
        assert there == named
        assert all(len(record.pictures) == 2 for record in records)
        with store._session() as database:
            states = [row["state"] for row in database.execute("SELECT state FROM generations")]
        assert not {*states} & {*UNFINISHED}
        saved, cut = saved + len(records), cut + states.count(State.CUT)
        store.close()
    assert saved > 0
    assert cut > 0
