"""`python -m studio download`: a model from its hub without the page, with its progress on stderr."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from studio.errors import InvalidInput
from studio.events import Downloading, Event
from studio.settings import Settings
from studio.text import size, t

TELL_SECONDS = 2.0


@dataclass
class Terminal:
    """A context that tells on stderr how far a download is. A key press of Ctrl-C ends it; what has come is kept."""

    language: str
    registry: Any = None
    _told: tuple[float, str] = field(default=(0.0, ""))

    def emit(self, event: Event) -> None:
        """Tell each file once, and the progress every few seconds."""
        if not isinstance(event, Downloading):
            return
        now, whole = time.monotonic(), event.done_bytes == event.total_bytes
        if whole or event.file != self._told[1] or now - self._told[0] >= TELL_SECONDS:
            self._told = now, event.file
            percent = 100 * event.done_bytes // max(event.total_bytes, 1)
            values = {"done": size(event.done_bytes), "total": size(event.total_bytes), "percent": percent}
            _tell(t("cli.downloading", self.language, **values, file=event.file))

    def check_cancelled(self) -> None:
        """Ctrl-C says it by itself."""

    def yield_device(self) -> None:
        """A download holds no device."""


def fetch(model_id: str, settings: Settings) -> None:
    """Have a model of the catalogue on this machine. Raises StudioError that says what stands in the way."""
    from studio.build import all_specs
    from studio.engine.downloads import Download

    specs = all_specs(settings)
    if model_id not in specs:
        raise InvalidInput("not_a_choice", field="model", value=model_id[:40], choices=", ".join(specs))
    source = Download(specs[model_id]).run(Terminal(settings.language))
    _tell(t("cli.downloaded", settings.language, model=model_id, revision=source.revision))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
