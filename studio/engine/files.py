"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

TEMPORARY_PREFIX = ".writing-"
"""What an interrupted write leaves behind begins with this, and is nobody's."""


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one step that outlives a crash; a reader finds what was there before, or all of it.

    Raises OSError, and then leaves nothing behind.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
