"""FD-world of quantized variants. It takes a hundred pictures of each: the page does not draw them, but reads the last
answer of `evaluate quant`, which lies beside the models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.engine.comparison_subjects import FULL

NAMED = re.compile(r"W(?P<weight>\d)A(?P<activation>\d) (?P<method>\w+)(?:-0 (?P<kind>trained))?")
FULL_WHERE = "full precision"


@dataclass(frozen=True)
class Distances:
    """sha256: of the weights that were measured; by_use: FD-world by the id of a method with its bits."""

    sha256: str = ""
    by_use: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_subject(cls, models_dir: Path, name: str) -> Distances:
        """What was measured of a subject; nothing where that never happened, or is being written."""
        try:
            text = (models_dir / "evaluations" / f"quant-{name}.json").read_text(encoding="utf-8")
            told: dict[str, Any] = json.loads(text)
            rows = (row for row in told["rows"] if row["name"] == "fd_world")
            found = {use: row["value"] for row in rows if (use := use_of(row["where"])) is not None}
            return cls(told["model"]["sha256"], found)
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def of_weights(self, sha256: str) -> Mapping[str, float]:
        """By the id of a use; none for other weights than those that were measured."""
        return self.by_use if sha256 == self.sha256 else {}


NOT_MEASURED = Distances()


def use_of(where: str) -> str | None:
    """The id of what a row of `evaluate quant` was measured of, None where that cannot be chosen on the page."""
    if where == FULL_WHERE:
        return FULL
    if re.fullmatch(r"\w+", where):
        return where
    named = NAMED.fullmatch(where)
    if named is None:
        return None
    kind = f"_{named['kind']}" if named["kind"] else ""
    return f"{named['method']}{kind}-w{named['weight']}a{named['activation']}"
