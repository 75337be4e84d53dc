"""The table behind the history, and what a person is told when the disk or the database objects."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from studio.errors import StudioError

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    created REAL NOT NULL,          -- seconds since 1970
    state TEXT NOT NULL,
    request TEXT NOT NULL,          -- JSON
    outcome TEXT NOT NULL,          -- JSON: timings, peak_bytes, model_sha256, notes, error
    marks TEXT,                     -- JSON: for each picture, what the eye found; NULL: not measured
    pictures INTEGER NOT NULL,      -- how many files
    bytes INTEGER NOT NULL          -- of the files and of the request
);
CREATE INDEX IF NOT EXISTS generations_of ON generations (owner, number);
CREATE INDEX IF NOT EXISTS generations_bytes ON generations (bytes);
"""
FULL_DISK = {errno.ENOSPC, errno.EDQUOT}


def prepare(database: sqlite3.Connection) -> None:
    """Set a new connection up, and the tables if there are none. A commit is on the disk when it returns."""
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA foreign_keys = ON")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version != SCHEMA_VERSION:
        raise StudioError("history_version", found=version, known=SCHEMA_VERSION)


@contextmanager
def told() -> Iterator[None]:
    """Turn what the disk or the database objects to into what a person can be told."""
    try:
        yield
    except sqlite3.Error as error:
        reason = getattr(error, "sqlite_errorname", type(error).__name__)
        key = "disk_full" if reason == "SQLITE_FULL" else "history_unusable"
        raise StudioError(key, reason=reason) from error
    except OSError as error:
        key = "disk_full" if error.errno in FULL_DISK else "history_unusable"
        raise StudioError(key, reason=error.strerror or type(error).__name__) from error
