from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.evaluate.report import Report, ReportRow, bootstrap_mean, folder_sha256, wilson

ROW = ReportRow("obedience", 0.91, where="colour", low=0.89, high=0.93, baseline=0.1, ceiling=0.99, target=0.9)
REPORT = Report(
    "evaluate text2img", (ROW,), "little-world", "ab" * 32, "cd" * 32, "cpu", "cpu", seed=3, samples=200, seconds=12.5
)


def test_the_json_is_one_object_with_the_promised_keys():
    assert json.loads(REPORT.as_json()) == {
        "command": "evaluate text2img",
        "model": {"id": "little-world", "sha256": "ab" * 32},
        "eye": "cd" * 32,
        "preset": "cpu",
        "device": "cpu",
        "seed": 3,
        "samples": 200,
        "seconds": 12.5,
        "rows": [
            {
                "name": "obedience",
                "where": "colour",
                "value": 0.91,
                "unit": "",
                "low": 0.89,
                "high": 0.93,
                "baseline": 0.1,
                "ceiling": 0.99,
                "target": 0.9,
                "sense": "higher",
                "holds": True,
            }
        ],
    }


@pytest.mark.parametrize(
    ("value", "target", "sense", "holds"),
    [
        (0.9, 0.9, "higher", True),
        (0.89, 0.9, "higher", False),
        (4.0, 4.0, "lower", True),
        (4.1, 4.0, "lower", False),
        (1.0, None, "higher", None),
    ],
)
def test_a_row_holds_when_its_value_meets_the_target(value: float, target: float | None, sense, holds: bool | None):
    assert ReportRow("row", value, target=target, sense=sense).holds is holds


def test_a_report_holds_unless_a_row_misses_its_target():
    told, missed = ReportRow("told", 1.0), ReportRow("missed", 2.0, target=1.0, sense="lower")
    assert Report("bench start", (told,)).holds
    assert not Report("bench start", (told, missed)).holds


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_without_a_finite_value_is_refused_by_name(value: float):
    with pytest.raises(StudioError, match="obedience"):
        ReportRow("obedience", value)


def test_numbers_of_numpy_become_plain_ones():
    import numpy as np

    assert json.loads(Report("bench start", (ReportRow("row", np.float32(0.5)),)).as_json())["rows"][0]["value"] == 0.5


def test_the_table_is_aligned_and_says_what_holds():
    rows = (ROW, ReportRow("seconds per picture", 4.25, unit="s", target=4.0, sense="lower"))
    facts, heading, first, second = Report("bench text2img", rows, "little-world").as_table().splitlines()
    assert facts.startswith("bench text2img: model little-world")
    column = heading.index("target")
    assert first[column:].split() == [">=", "0.9", "yes"]
    assert second[column:].split() == ["<=", "4", "NO"]


def test_the_hash_of_a_folder_is_over_its_sorted_names_and_contents(tmp_path: Path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights").write_bytes(b"1")
    (tmp_path / "card.md").write_bytes(b"2")
    one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    lines = f"card.md {two}\nunet/weights {one}\n"
    assert folder_sha256(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_the_hash_of_a_folder_changes_with_a_name(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"1")
    before = folder_sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert folder_sha256(tmp_path) != before


def test_the_hash_of_a_missing_folder_is_an_error(tmp_path: Path):
    with pytest.raises(NotADirectoryError):
        folder_sha256(tmp_path / "missing")


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe (1998), table I, method 3 for the first three.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilson_gives_the_published_intervals(successes: int, trials: int, low: float, high: float):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_without_a_trial_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_bootstrap_of_a_constant_is_that_constant():
    assert bootstrap_mean([2.5] * 10, seed=0) == (2.5, 2.5)


def test_the_bootstrap_agrees_with_the_normal_interval_of_many_values():
    values = [float(number % 10) for number in range(1_000)]
    half = 1.96 * math.sqrt(8.25 / 1_000)
    assert bootstrap_mean(values, seed=1) == pytest.approx((4.5 - half, 4.5 + half), abs=0.02)


def test_the_bootstrap_repeats_with_its_seed():
    assert bootstrap_mean([0.0, 1.0, 3.0], seed=7) == bootstrap_mean([0.0, 1.0, 3.0], seed=7)
