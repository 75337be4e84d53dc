"""A studio in a process of its own, as people start it, for benchmarks that look at it from outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.settings import ROOT

HOST = "127.0.0.1"
PATIENCE_SECONDS = 180.0
POLL_SECONDS = 0.02
APP = ("app.py",)
PROBED = ("-m", "studio.bench.probed")
"""The same, which tells its registry's counters for each line that it reads."""


@dataclass(frozen=True)
class Served:
    """A page that answers. answered_seconds: from the start of its process."""

    process: subprocess.Popen[str]
    port: int
    started: float
    answered_seconds: float

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"

    @property
    def age_seconds(self) -> float:
        """Since the start of its process."""
        return time.perf_counter() - self.started

    def counters(self) -> dict[str, Any]:
        """What `PROBED` says of itself."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        while not (line := self.process.stdout.readline()).startswith("{"):
            if not line:
                raise StudioError("bench_server_ended", code=self.process.wait())
        told: dict[str, Any] = json.loads(line)
        return told


@contextmanager
def served(arguments: Sequence[str] = APP, environ: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Start Python with these arguments on a free port, with a history of its own, until its page answers.

    Raises StudioError if it ends before, or does not answer within PATIENCE_SECONDS.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as data_dir, (Path(data_dir) / "log").open("w") as log:
        own = {"STUDIO_HOST": HOST, "STUDIO_PORT": str(port), "STUDIO_DATA_DIR": data_dir}
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **own, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if arguments == PROBED else log,
            stderr=log,
            text=True,
        )
        try:
            _wait_until_answered(process, port, started)
            yield Served(process, port, started, time.perf_counter() - started)
        finally:
            process.kill()
            process.communicate()


def _wait_until_answered(process: subprocess.Popen[str], port: int, started: float) -> None:
    while not _answers(port):
        if process.poll() is not None:
            raise StudioError("bench_server_ended", code=process.returncode)
        if time.perf_counter() - started > PATIENCE_SECONDS:
            raise StudioError("bench_server_silent", seconds=int(PATIENCE_SECONDS))
        time.sleep(POLL_SECONDS)


def _answers(port: int) -> bool:
    """Whether the page is sent whole."""
    connection = HTTPConnection(HOST, port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status == 200 and bool(answer.read())
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def open_client(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """A gradio_client of a page that may be busy."""
    from gradio_client import Client

    return Client(url, verbose=False, headers=dict(headers or {}), httpx_kwargs={"timeout": PATIENCE_SECONDS})


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def peak_bytes(process_id: int) -> int:
    """The most memory that a running process has taken so far: VmHWM of Linux's /proc."""
    for line in Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise StudioError("bench_no_peak", process=process_id)
