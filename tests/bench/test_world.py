from __future__ import annotations

from studio.bench.world import run
from studio.evaluate.ask import Ask
from studio.settings import Settings


def test_it_counts_pictures_and_maps():
    report = run(Settings(), Ask(preset="smoke"))
    assert [row.name for row in report.rows] == ["picture", "picture and maps"]
    assert all(row.value > 0 and row.holds is None for row in report.rows)
