"""The history: what each browser asked for and what became of it, in SQLite, with its pictures as files beside it.

A picture's files are whole before its record says `done`, and the record is gone before they are: whenever the
process dies, a record that is done has all its pictures. What lies there without a record is removed when the
store is opened next. Nothing is opened before the first use.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

from studio.engine import infotext
from studio.engine.database import prepare, told
from studio.engine.files import write_atomically
from studio.engine.images import png_bytes, thumbnail_bytes
from studio.engine.record import UNFINISHED, Picture, Record, State
from studio.errors import StudioError
from studio.events import GenerationResult, Timings
from studio.types import GenerationRequest

DATABASE, LOCK, RESERVE = "history.sqlite3", "lock", "reserve"
RESERVE_BYTES = 256 * 1024
"""Kept free for what frees space: a deletion is itself written to the disk first."""
PICTURE_FIELDS = ("init_image", "mask", "controls")
"""The fields of a request that are, or carry, pictures: of those at most a hash is kept."""


class Store:
    """The history in a folder of its own. Any thread may use it, and several processes the same folder.

    limit_bytes: what all pictures together may take; the oldest make room. Every method raises
    StudioError("disk_full") or StudioError("history_unusable") where the disk does not let it.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._pictures, self._thumbnails = folder / "pictures", folder / "thumbnails"
        self._limit_bytes = limit_bytes
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._opened = ExitStack()

    def begin(self, record_id: str, owner: str, request: GenerationRequest) -> None:
        """Remember that a generation waits."""
        text = json.dumps(_request_values(request))
        values = (record_id, owner, time.time(), State.QUEUED, text, "{}", 0, len(text.encode()))
        with self._session() as database:
            database.execute(
                "INSERT INTO generations (id, owner, created, state, request, outcome, pictures, bytes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )

    def run(self, record_id: str) -> None:
        """Remember that a generation has its turn."""
        with self._session() as database:
            database.execute("UPDATE generations SET state = ? WHERE id = ?", (State.RUNNING, record_id))

    def finish(self, record_id: str, result: GenerationResult) -> None:
        """Keep a generation's pictures.

        Raises StudioError("history_too_small") if they alone exceed the limit, and "unknown_record" without `begin`.
        """
        files = dict(self._files_of(record_id, result))
        size_bytes = sum(map(len, files.values()))
        outcome = {"timings": asdict(result.timings), "peak_bytes": result.peak_bytes}
        outcome |= {"model_sha256": result.model_sha256, "notes": result.notes}
        self._make_room(size_bytes)
        with told():
            try:
                for path, data in files.items():
                    write_atomically(path, data)
                with self._session() as database:
                    changed = database.execute(
                        "UPDATE generations SET state = ?, outcome = ?, pictures = ?, bytes = bytes + ? WHERE id = ?",
                        (State.DONE, json.dumps(outcome), len(result.images), size_bytes, record_id),
                    )
                    if changed.rowcount != 1:
                        raise StudioError("unknown_record")
            except BaseException:
                _remove(files)
                raise

    def fail(self, record_id: str, state: State, error: str = "") -> None:
        """Remember that a generation came to no picture, and why."""
        with self._session() as database:
            database.execute(
                "UPDATE generations SET state = ?, outcome = ? WHERE id = ?",
                (state, json.dumps({"error": error}), record_id),
            )

    def forget(self, record_id: str) -> None:
        """Take back a `begin`."""
        with self._session() as database:
            database.execute("DELETE FROM generations WHERE id = ? AND state = ?", (record_id, State.QUEUED))

    def write_marks(self, record_id: str, marks: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Keep what the eye found in each picture. A record that is gone stays so."""
        text = json.dumps([[dict(mark) for mark in own] for own in marks])
        with self._session() as database:
            database.execute("UPDATE generations SET marks = ? WHERE id = ?", (text, record_id))

    def list(self, owner: str, limit: int, before: int | None = None) -> tuple[Record, ...]:
        """The owner's generations that have pictures, the newest first. before: the number of the last one seen."""
        below = "" if before is None else "AND number < ?"
        values = (owner, State.DONE, *(() if before is None else (before,)), limit)
        with self._session() as database:
            rows = database.execute(
                f"SELECT * FROM generations WHERE owner = ? AND state = ? {below} ORDER BY number DESC LIMIT ?", values
            ).fetchall()
        return tuple(map(self._record, rows))

    def get(self, record_id: str, owner: str) -> Record:
        """One's own generation. Raises StudioError for one that is not there or another's, in the same words."""
        with self._session() as database:
            row = database.execute(
                "SELECT * FROM generations WHERE id = ? AND owner = ?", (record_id, owner)
            ).fetchone()
        if row is None:
            raise StudioError("unknown_record")
        return self._record(row)

    def delete(self, record_id: str, owner: str) -> None:
        """Remove one's own generation that has ended, and its pictures. Raises StudioError as `get` does."""
        record = self.get(record_id, owner)
        if record.state in UNFINISHED:
            raise StudioError("unknown_record")
        self._drop([(record_id, len(record.pictures))])

    def close(self) -> None:
        """Let go of the files; the next use opens them again."""
        with self._lock:
            self._database = None
            self._opened.close()

    @contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        """The database for one transaction, opened at the first use."""
        with self._lock, told():
            if self._database is None:
                self._open()
            assert self._database is not None
            with self._database:
                yield self._database

    def _open(self) -> None:
        """Make or open the folder. Settles what an earlier run left, unless another process is using it."""
        for folder in (self._folder, self._pictures, self._thumbnails):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._reserve_given_up(), ExitStack() as opened:
            in_use = opened.enter_context((self._folder / LOCK).open("a"))
            database = opened.enter_context(closing(sqlite3.connect(self._folder / DATABASE, check_same_thread=False)))
            prepare(database)
            if _is_alone(in_use):
                self._sweep(database)
            fcntl.flock(in_use, fcntl.LOCK_SH)
            self._database, self._opened = database, opened.pop_all()

    def _sweep(self, database: sqlite3.Connection) -> None:
        """Mark as cut what was not finished, and remove files without a record and records without their files."""
        with database:
            database.execute("UPDATE generations SET state = ? WHERE state IN (?, ?)", (State.CUT, *UNFINISHED))
            rows = database.execute("SELECT id, pictures FROM generations WHERE pictures > 0").fetchall()
            there = {path for folder in (self._pictures, self._thumbnails) for path in folder.iterdir()}
            wanted = {row["id"]: set(self._paths(row["id"], row["pictures"])) for row in rows}
            broken = [(record_id,) for record_id, paths in wanted.items() if not paths <= there]
            database.executemany("DELETE FROM generations WHERE id = ?", broken)
        for (record_id,) in broken:
            del wanted[record_id]
        _remove(there.difference(*wanted.values()))

    def _make_room(self, needed_bytes: int) -> None:
        """Drop the oldest generations until `needed_bytes` more are within the limit."""
        if needed_bytes > self._limit_bytes:
            raise StudioError("history_too_small", needed_bytes=needed_bytes, limit_bytes=self._limit_bytes)
        with self._session() as database:
            (used_bytes,) = database.execute("SELECT COALESCE(SUM(bytes), 0) FROM generations").fetchone()
            excess_bytes = used_bytes + needed_bytes - self._limit_bytes
            oldest = database.execute(
                "SELECT id, pictures, bytes FROM generations WHERE state NOT IN (?, ?) ORDER BY number", UNFINISHED
            )
            dropped = []
            while excess_bytes > 0 and (row := oldest.fetchone()) is not None:
                dropped.append((row["id"], row["pictures"]))
                excess_bytes -= row["bytes"]
        self._drop(dropped)

    def _drop(self, generations: Sequence[tuple[str, int]]) -> None:
        """Remove generations, named by id and number of pictures: first their records, then their files."""
        if not generations:
            return
        with self._lock, told(), self._reserve_given_up():
            with self._session() as database:
                database.executemany("DELETE FROM generations WHERE id = ? AND pictures = ?", generations)
            _remove(path for record_id, count in generations for path in self._paths(record_id, count))

    @contextmanager
    def _reserve_given_up(self) -> Iterator[None]:
        """Free the reserve's room, and take it again where that is possible."""
        reserve = self._folder / RESERVE
        reserve.unlink(missing_ok=True)
        try:
            yield
        finally:
            with suppress(OSError):
                reserve.write_bytes(bytes(RESERVE_BYTES))

    def _paths(self, record_id: str, count: int) -> Iterator[Path]:
        """Every file of a generation."""
        for index in range(count):
            yield from self._paths_of(record_id, index)

    def _paths_of(self, record_id: str, index: int) -> tuple[Path, Path]:
        """One picture's own file and its thumbnail's."""
        return self._pictures / f"{record_id}-{index}.png", self._thumbnails / f"{record_id}-{index}.webp"

    def _files_of(self, record_id: str, result: GenerationResult) -> Iterator[tuple[Path, bytes]]:
        """What each file of a generation will hold."""
        for index, image in enumerate(result.images):
            path, thumbnail = self._paths_of(record_id, index)
            yield path, png_bytes(image, infotext.write(result.request, result.model_sha256, index, result.backend))
            yield thumbnail, thumbnail_bytes(image)

    def _record(self, row: sqlite3.Row) -> Record:
        outcome = json.loads(row["outcome"])
        marks = json.loads(row["marks"]) if row["marks"] else [None] * row["pictures"]
        return Record(
            id=row["id"],
            number=row["number"],
            owner=row["owner"],
            created_seconds=row["created"],
            state=State(row["state"]),
            request=json.loads(row["request"]),
            pictures=tuple(
                Picture(*self._paths_of(row["id"], index), None if own is None else tuple(own))
                for index, own in enumerate(marks)
            ),
            timings=Timings(**outcome.get("timings", {})),
            peak_bytes=outcome.get("peak_bytes", 0),
            model_sha256=outcome.get("model_sha256", ""),
            notes=tuple(outcome.get("notes", ())),
            error=outcome.get("error", ""),
        )


def _is_alone(in_use: IO[str]) -> bool:
    """Whether no other process holds the lock that everybody who uses a history shares."""
    try:
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _request_values(request: GenerationRequest) -> dict[str, Any]:
    """A request's fields by name; of the pictures that it is drawn from, a hash of the pixels."""
    values = {field.name: getattr(request, field.name) for field in fields(request) if field.name not in PICTURE_FIELDS}
    return {**values, **infotext.source_hashes(request), **infotext.control_records(request)}


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
