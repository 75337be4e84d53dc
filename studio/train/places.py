"""Where training reads and writes. Free of torch, so that the processes that only render start at once."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MODELS, RUNS = ROOT / "models", ROOT / "runs"


def data_folder() -> Path:
    """Where rendered and encoded scenes are kept between runs."""
    return RUNS / "data"


def run_folder(stage: str, preset: str) -> Path:
    """Log, checkpoint and sample sheets of the last run of a stage."""
    return RUNS / f"{stage}-{preset}"
