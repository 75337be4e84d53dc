"""What every evaluation and benchmark answers with: rows of numbers that carry their uncertainty and their target.

`python -m studio evaluate NAME --json` prints `Report.as_json()` and nothing else on standard output.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from studio.errors import StudioError

Z_95 = 1.959963984540054
RESAMPLES = 2_000
COLUMNS = ("name", "where", "value", "unit", "95 %", "baseline", "ceiling", "target", "holds")
HOLDS_WORD = {True: "yes", False: "NO", None: "-"}


@dataclass(frozen=True)
class ReportRow:
    """One number. where: what it was measured on; low, high: its 95 % interval; baseline: what knowing nothing gives;
    ceiling: what perfection gives here; target: what it has to reach (sense "higher") or to stay under ("lower")."""

    name: str
    value: float
    unit: str = ""
    where: str = ""
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    ceiling: float | None = None
    target: float | None = None
    sense: Literal["higher", "lower"] = "higher"

    def __post_init__(self) -> None:
        for field in ("value", "low", "high", "baseline", "ceiling", "target"):
            number = getattr(self, field)
            if number is None:
                continue
            if not math.isfinite(number):
                raise StudioError("result_not_finite", row=self.name, field=field, value=number)
            object.__setattr__(self, field, float(number))

    @property
    def holds(self) -> bool | None:
        """Whether the value meets the target; None without a target."""
        if self.target is None:
            return None
        return self.value >= self.target if self.sense == "higher" else self.value <= self.target


@dataclass(frozen=True)
class Report:
    """The answer to one question. model_sha256: `folder_sha256` of the model; eye: that of the perception used."""

    command: str
    rows: tuple[ReportRow, ...]
    model_id: str | None = None
    model_sha256: str | None = None
    eye: str | None = None
    preset: str | None = None
    device: str = "cpu"
    seed: int = 0
    samples: int = 0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """False if any row misses its target."""
        return all(row.holds is not False for row in self.rows)

    def as_json(self) -> str:
        """The report as one JSON object on one line."""
        return json.dumps(
            {
                "command": self.command,
                "model": {"id": self.model_id, "sha256": self.model_sha256},
                "eye": self.eye,
                "preset": self.preset,
                "device": self.device,
                "seed": self.seed,
                "samples": self.samples,
                "seconds": self.seconds,
                "rows": [{**asdict(row), "holds": row.holds} for row in self.rows],
            },
            ensure_ascii=False,
            allow_nan=False,
        )

    def as_table(self) -> str:
        """The report for a reader: a line of facts, then one aligned line per row."""
        model = f"{self.model_id or '-'} ({(self.model_sha256 or '-')[:12]})"
        facts = (
            f"{self.command}: model {model}, eye {(self.eye or '-')[:12]}, preset {self.preset or '-'}, "
            f"{self.device}, seed {self.seed}, {self.samples} samples, {self.seconds:.1f} s"
        )
        lines = [COLUMNS, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
        aligned = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
        return "\n".join((facts, *(line.rstrip() for line in aligned)))


def _cells(row: ReportRow) -> tuple[str, ...]:
    """The texts of a row in the order of COLUMNS."""
    interval = "-" if row.low is None or row.high is None else f"{_short(row.low)} .. {_short(row.high)}"
    target = "-" if row.target is None else f"{'>=' if row.sense == 'higher' else '<='} {_short(row.target)}"
    value, baseline, ceiling = (_short(number) for number in (row.value, row.baseline, row.ceiling))
    unit, holds = row.unit or "-", HOLDS_WORD[row.holds]
    return (row.name, row.where or "-", value, unit, interval, baseline, ceiling, target, holds)


def _short(number: float | None) -> str:
    """Four significant digits; a dash for nothing."""
    return "-" if number is None else f"{number:.4g}"


def folder_sha256(folder: Path) -> str:
    """One hash for a folder: SHA-256 over the lines "relative/name sha256" of all its files, sorted by name.

    Raises NotADirectoryError for what is not a folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(folder)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    total = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as file:
            total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval (low, high) of a proportion; (0, 1) without a trial.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = successes / trials      Wilson (1927)
    """
    if trials == 0:
        return 0.0, 1.0
    p, z_squared_over_n = successes / trials, Z_95**2 / trials
    centre = p + z_squared_over_n / 2
    spread = Z_95 * math.sqrt(p * (1 - p) / trials + z_squared_over_n / (4 * trials))
    low, high = (centre - spread) / (1 + z_squared_over_n), (centre + spread) / (1 + z_squared_over_n)
    return max(0.0, low), min(1.0, high)


def bootstrap_mean(values: Sequence[float], seed: int) -> tuple[float, float]:
    """The 95 % interval (low, high) of the mean of at least one value: percentiles over resamples with replacement."""
    sample = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = [sample[generator.integers(len(sample), size=len(sample))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
