"""A Hugging Face repository as its hub tells of it: which files it has, and their contents, taken up where a broken
download left off. The only code that asks a hub.

`huggingface_hub` itself throws away what it has of a file when a download is broken off; for files of gigabytes that
is dear, so the contents are streamed here, and its cache gets them when they are whole and what the hub said.
"""

from __future__ import annotations

import errno
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from studio.errors import ModelUnavailable

CONTENT_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
READ_BYTES = 1 << 20
RETRIES = 5
"""How often in a row a connection may break off without bringing anything."""
LONGEST_WAIT_SECONDS = 8
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416
BUSY = (408, 429, 500, 502, 503, 504)
REFUSED = (401, 403)

Arrived = Callable[[int], None]
"""Told how many bytes more (or, negative, fewer) there are now. May raise, to break off."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository. content_hash: SHA-256 of large files, git's SHA-1 of the others."""

    name: str
    bytes: int
    content_hash: str

    def new_digest(self) -> Any:
        """A hash of hashlib, which the contents bring to `content_hash`."""
        if len(self.content_hash) == 64:
            return hashlib.sha256()
        return hashlib.sha1(f"blob {self.bytes}\0".encode(), usedforsecurity=False)


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    commit: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True)
class Hub:
    """One repository on a hub. endpoint: the hub's address; None: where HF_ENDPOINT says, or huggingface.co."""

    model_id: str
    repo: str
    revision: str
    endpoint: str | None = None
    pause: Callable[[float], None] = time.sleep

    def listing(self) -> Listing:
        """What the repository holds now. Raises ModelUnavailable: what stands in the way, and what to do about it."""
        from huggingface_hub import HfApi

        try:
            with self._explained():
                info = HfApi(endpoint=self.endpoint).model_info(self.repo, revision=self.revision, files_metadata=True)
        except _BrokenOffError as error:
            raise error.unavailable from error
        files = (
            RemoteFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else one.blob_id or "")
            for one in info.siblings or ()
        )
        return Listing(str(info.sha), tuple(file for file in files if _is_harmless(file)))

    def fetch(self, file: RemoteFile, commit: str, path: Path, arrived: Arrived) -> None:
        """Bring the file at `path` to all of a file's contents, from wherever it stands. Raises ModelUnavailable."""
        partial = _Partial(file, path, arrived)
        furthest, failures = partial.bytes, 0
        while partial.bytes < file.bytes:
            broken_off = None
            try:
                with self._explained():
                    self._attempt(partial, commit)
            except _BrokenOffError as error:
                broken_off = error
            failures = 0 if partial.bytes > furthest else failures + 1
            furthest = max(furthest, partial.bytes)
            if failures > RETRIES and broken_off is not None:
                raise broken_off.unavailable from broken_off
            if failures > RETRIES:
                break
            if broken_off is not None:
                self._wait(min(2**failures, LONGEST_WAIT_SECONDS), arrived)
        if not partial.is_right():
            partial.restart()
            raise ModelUnavailable("download_damaged", model=self.model_id, file=file.name)

    def _attempt(self, partial: _Partial, commit: str) -> None:
        """Ask for what is missing of a file, and write what comes until the hub stops."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(self.repo, partial.file.name, revision=commit, endpoint=self.endpoint)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if partial.bytes:
            headers["Range"] = f"bytes={partial.bytes}-"
        with get_session().stream("GET", url, headers=headers) as response:
            if response.status_code == RANGE_NOT_SATISFIABLE:
                partial.restart()
                return
            hf_raise_for_status(response)
            if response.status_code != PARTIAL_CONTENT or _start_of(response.headers) != partial.bytes:
                partial.restart()
            partial.write(response.iter_bytes())

    def _wait(self, seconds: int, arrived: Arrived) -> None:
        """Wait before another try, in which one can still break off."""
        for _ in range(seconds):
            arrived(0)
            self.pause(1.0)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What the hub's client raises becomes ModelUnavailable, or _BrokenOffError where another try may help."""
        from httpx2 import TransportError
        from huggingface_hub import errors

        try:
            yield
        except errors.OfflineModeIsEnabled as error:
            raise ModelUnavailable("hub_offline", model=self.model_id) from error
        except errors.GatedRepoError as error:
            raise self._refused() from error
        except (errors.RevisionNotFoundError, errors.EntryNotFoundError, errors.RepositoryNotFoundError) as error:
            values = {"model": self.model_id, "repo": self.repo, "revision": self.revision}
            raise ModelUnavailable("hub_unknown", **values) from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            if status in REFUSED:
                raise self._refused() from error
            unavailable = self._unreachable(f"HTTP {status}")
            raise _BrokenOffError(unavailable) if status in BUSY else unavailable from error
        except TransportError as error:
            raise _BrokenOffError(self._unreachable(type(error).__name__)) from error
        except OSError as error:
            raise self._not_written(error) from error

    def _refused(self) -> ModelUnavailable:
        return ModelUnavailable("hub_refused", model=self.model_id, address=f"{self._address()}/{self.repo}")

    def _unreachable(self, reason: str) -> ModelUnavailable:
        return ModelUnavailable("hub_unreachable", model=self.model_id, hub=self._address(), reason=reason)

    def _not_written(self, error: OSError) -> ModelUnavailable:
        if error.errno == errno.ENOSPC:
            return ModelUnavailable("download_disk_full", model=self.model_id)
        return ModelUnavailable("not_written", path=error.filename or self.repo, reason=error.strerror or str(error))

    def _address(self) -> str:
        from huggingface_hub.constants import ENDPOINT

        return self.endpoint or ENDPOINT


class _Partial:
    """What there is of a file, with its digest so far. What is longer than the file counts as nothing."""

    def __init__(self, file: RemoteFile, path: Path, arrived: Arrived) -> None:
        self.file = file
        self.bytes = 0
        self._path = path
        self._arrived = arrived
        self._digest = file.new_digest()
        if path.is_file() and path.stat().st_size <= file.bytes:
            for chunk in _chunks(path):
                self._digest.update(chunk)
                self.bytes += len(chunk)
        else:
            path.write_bytes(b"")

    def write(self, chunks: Iterable[bytes]) -> None:
        """Append what comes, to the file's length and not further than the chunk that goes beyond it."""
        with self._path.open("ab") as out:
            for chunk in chunks:
                out.write(chunk)
                self._digest.update(chunk)
                self.bytes += len(chunk)
                self._arrived(len(chunk))
                if self.bytes > self.file.bytes:
                    return

    def restart(self) -> None:
        """Throw away what is there."""
        self._path.write_bytes(b"")
        self._arrived(-self.bytes)
        self._digest, self.bytes = self.file.new_digest(), 0

    def is_right(self) -> bool:
        """Whether all of it is there and what the hub said it would be."""
        return self.bytes == self.file.bytes and self._digest.hexdigest() == self.file.content_hash


class _BrokenOffError(Exception):
    """Another try may help; `unavailable` is what to tell if none did."""

    def __init__(self, unavailable: ModelUnavailable) -> None:
        super().__init__(unavailable.key)
        self.unavailable = unavailable


def has_contents(path: Path, file: RemoteFile, check: Callable[[], None]) -> bool:
    """Whether the file at `path` holds what the hub says. Calls `check` on the way, which may raise to break off."""
    if path.stat().st_size != file.bytes:
        return False
    digest = file.new_digest()
    for chunk in _chunks(path):
        check()
        digest.update(chunk)
    return bool(digest.hexdigest() == file.content_hash)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while chunk := opened.read(READ_BYTES):
            yield chunk


def _is_harmless(file: RemoteFile) -> bool:
    """Whether a file's name stays in its folder and its hash can name a file."""
    path = PurePosixPath(file.name)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in file.name
    return inside and CONTENT_HASH.fullmatch(file.content_hash) is not None


def _start_of(headers: Any) -> int | None:
    """At which byte the contents of an answer begin, as its Content-Range says."""
    matched = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(matched[1]) if matched else None
