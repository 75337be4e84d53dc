from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from studio.checks import CHECKS
from studio.evaluate import diffusion
from studio.evaluate.against_diffusers import CHECKS as AGAINST_DIFFUSERS
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report

NOTHING = SimpleNamespace(models_dir=Path("no models"))
FAST = tuple(check for check in CHECKS if check.group in ("loss", "vae"))


@pytest.fixture(scope="module")
def report() -> Report:
    return diffusion.run(NOTHING, Ask(seed=2))


def test_every_check_has_its_row_with_tolerance_and_source(report: Report):
    rows = {row.name: row for row in report.rows}
    assert list(rows) == [check.id for check in (*CHECKS, *AGAINST_DIFFUSERS)]
    for check in (*CHECKS, *AGAINST_DIFFUSERS):
        row = rows[check.id]
        assert (row.target, row.where, row.sense) == (check.tolerance, check.source, "lower")


def test_all_of_them_are_green(report: Report):
    assert [row.name for row in report.rows if not row.holds] == []
    assert report.holds


def test_the_report_says_what_it_is(report: Report):
    told = json.loads(report.as_json())
    assert (told["command"], told["seed"], told["samples"]) == ("evaluate diffusion", 2, len(report.rows))


def test_a_check_that_is_off_makes_the_report_red(monkeypatch: pytest.MonkeyPatch):
    wrong = replace(FAST[0], measure=lambda on: 10 * FAST[0].tolerance)
    monkeypatch.setattr(diffusion, "CHECKS", (*FAST[1:], wrong))
    monkeypatch.setattr(diffusion, "AGAINST_DIFFUSERS", ())
    report = diffusion.run(NOTHING, Ask())
    assert not report.holds
    assert [row.name for row in report.rows if not row.holds] == [wrong.id]


def test_the_seed_chooses_what_is_drawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diffusion, "CHECKS", FAST)
    monkeypatch.setattr(diffusion, "AGAINST_DIFFUSERS", ())
    one, other, again = (diffusion.run(NOTHING, Ask(seed=seed)).rows for seed in (0, 1, 0))
    assert one == again != other
