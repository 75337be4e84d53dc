"""Where a Hugging Face repository's files lie on this disk: the hub's own cache, which other programs share.

    models--OWNER--NAME/blobs/HASH                  contents, by the hash that the hub gives them
                       /snapshots/COMMIT/PATH       a link to one of them
                       /refs/REVISION               the commit that a branch stood at
                       /studio-MODEL.json           what a download of ours brought, and from which commit

https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Nothing here asks a hub.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from studio.engine.files import write_atomically
from studio.engine.folders import INDEX
from studio.errors import ModelUnavailable
from studio.types import Source

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Record:
    """What a download brought. asked: the revision of the source; revision: the commit it was then; files: SHA-256 of
    each, by its name in the repository."""

    repo: str
    asked: str
    revision: str
    files: Mapping[str, str]


def default_cache() -> Path:
    """The cache of this person, which HF_HOME and HF_HUB_CACHE place."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


@dataclass(frozen=True)
class CachedRepository:
    """One repository's folder in a cache; it need not be there."""

    cache: Path
    repo: str

    @property
    def folder(self) -> Path:
        return self.cache / f"models--{self.repo.replace('/', '--')}"

    def blob(self, content_hash: str) -> Path:
        return self.folder / "blobs" / content_hash

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def point(self, commit: str, name: str, content_hash: str) -> None:
        """Let the name of a file in a commit lead to its contents: by a link, of whatever kind the disk can make."""
        pointer, blob = self.snapshot(commit) / name, self.blob(content_hash)
        if pointer.exists():
            return
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)  # a link that leads nowhere
        try:
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:  # on Windows only administrators make symbolic links
            os.link(blob, pointer)

    def write_record(self, model_id: str, record: Record) -> None:
        """Write down what a download brought, and the branch's commit, as other programs look it up."""
        write_atomically(self._record_file(model_id), json.dumps(asdict(record), indent=1).encode())
        if not COMMIT.fullmatch(record.asked):
            ref = self.folder / "refs" / record.asked
            ref.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(ref, record.revision.encode())

    def record(self, model_id: str) -> Record | None:
        """What was downloaded for a model, or None. Raises ModelUnavailable if that cannot be read."""
        file = self._record_file(model_id)
        if not file.is_file():
            return None
        try:
            return Record(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ModelUnavailable("model_damaged", model=model_id, file=file.name) from error

    def find(self, source: Source, model_id: str, mark: str = INDEX) -> tuple[Path, Record | None] | None:
        """The folder of a source, of the recorded commit if it was downloaded here; None where it is not cached.

        mark: the file of it whose presence says that it is there.
        """
        record = self.record(model_id)
        if record is not None and (record.repo, record.asked) != (source.repo, source.revision):
            record = None
        commit = record.revision if record is not None else self._commit_of(source.revision)
        snapshot = self.snapshot(commit) if commit else None
        if snapshot is None or not (snapshot / source.subfolder / mark).is_file():
            return None
        return snapshot, record

    def _commit_of(self, revision: str) -> str | None:
        """The commit that a revision is, as far as the cache knows."""
        if COMMIT.fullmatch(revision):
            return revision
        ref = self.folder / "refs" / revision
        return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None

    def _record_file(self, model_id: str) -> Path:
        return self.folder / f"studio-{model_id}.json"
