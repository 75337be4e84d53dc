"""A hub on this machine: answers as huggingface.co does what a download asks, and can be made to misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGE_BYTES = 4_096
"""Files of this size and more are kept as large ones, by their SHA-256."""
COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


@dataclass
class FakeHub:
    """What it holds, what it was asked, and how it misbehaves.

    files: contents by name. requests: (name, Range header) of each file that was asked for. break_after: the
    connection ends after so many bytes of an answer, that many times. statuses: answered to the next requests for
    files instead of the file. ignores_ranges: sends all of a file whatever was asked. api_status: of the listing.
    held: the name of the file of which half is sent, and the rest only once `hold` is set.
    """

    files: dict[str, bytes]
    repo: str = "some/repo"
    commit: str = COMMIT
    endpoint: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    break_after: int = 0
    breaks: int = 0
    statuses: list[int] = field(default_factory=list)
    ignores_ranges: bool = False
    api_status: int = 200
    api_error: str = ""
    held: str = ""
    hold: threading.Event = field(default_factory=threading.Event)

    def listing(self) -> bytes:
        siblings = [
            {"rfilename": name, "size": len(data), "blobId": _git_hash(data), **_large(data)}
            for name, data in self.files.items()
        ]
        return json.dumps({"id": self.repo, "sha": self.commit, "siblings": siblings}).encode()


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _large(data: bytes) -> dict[str, object]:
    if len(data) < LARGE_BYTES:
        return {}
    return {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            self._send(self.hub.api_status, self.hub.listing(), {"X-Error-Code": self.hub.api_error})
            return
        matched = re.fullmatch(rf"/{self.hub.repo}/resolve/([0-9a-z]+)/(.+)", self.path)
        if matched is None or matched[1] != self.hub.commit or matched[2] not in self.hub.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        self.hub.requests.append((matched[2], self.headers["Range"]))
        if self.hub.statuses:
            self._send(self.hub.statuses.pop(0), b"", {})
            return
        self._send_file(self.hub.files[matched[2]])

    def _send_file(self, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(asked[1]) if asked and not self.hub.ignores_ranges else 0
        if start and start >= len(data):
            self._send(416, b"", {})
            return
        span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        status, body, headers = 206 if start else 200, data[start:], span
        if self.hub.breaks and len(body) > self.hub.break_after:
            self.hub.breaks -= 1
            self._send(status, body, headers, self.hub.break_after)
            self.connection.close()
            return
        held = self.hub.held and self.path.endswith(self.hub.held)
        self._send(status, body, headers, len(body) // 2 if held else None)
        if held:
            self.hub.hold.wait(30)
            self.wfile.write(body[len(body) // 2 :])

    def _send(self, status: int, body: bytes, headers: dict[str, str], sent_bytes: int | None = None) -> None:
        """An answer, of whose body only so many bytes are sent."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:sent_bytes])
        self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[FakeHub]:
    """A hub that holds a folder's files as the repository some/repo."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    hub = FakeHub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
