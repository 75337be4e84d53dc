"""A queue without models."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from studio.engine.jobs import JobQueue


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    jobs = JobQueue(SimpleNamespace(device="cpu"))
    yield jobs
    jobs.close()
