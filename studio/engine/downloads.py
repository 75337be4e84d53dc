"""Models from a hub, when somebody asks for them: as a Work that tells how far it is, can be stopped, and goes on
where it was stopped. Nothing is ever downloaded on the way.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from studio.engine.folders import INDEX, chosen_files, lacking, network_files, used_parts
from studio.engine.hub import CachedRepository, Record, default_cache
from studio.engine.jobs import Job, JobQueue
from studio.engine.remote import Hub, Listing, RemoteFile, has_contents
from studio.engine.single import IMAGE_ENCODER, SINGLE_KINDS, mark_of
from studio.errors import ModelUnavailable
from studio.events import Context, Downloading
from studio.lineage import file_sha256
from studio.types import ModelSpec, Source

if TYPE_CHECKING:
    from studio.engine.registry import Registry

OWNER = "downloads"
"""Downloads belong to the studio: whoever may start one may stop it."""
TELL_SECONDS = 0.2
PARTIAL_SUFFIX = ".studio-part"
LOCK = "studio.lock"


def hub_source(spec: ModelSpec) -> Source:
    """The source from which a model can be downloaded. Raises ModelUnavailable if there is none."""
    for source in spec.sources:
        if source.hub == "huggingface":
            mark_of(spec, source)
            return source
        if source.hub != "local":
            raise ModelUnavailable("hub_not_supported", model=spec.id, hub=source.hub)
    raise ModelUnavailable("not_on_a_hub", model=spec.id)


@dataclass(frozen=True)
class Download:
    """The work of bringing one model's files into the hub's cache; `Done` carries its Source with the commit it got.

    cache_dir, endpoint: this person's own where they are None. pause: waits between tries.
    """

    spec: ModelSpec
    cache_dir: Path | None = None
    endpoint: str | None = None
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)

    def run(self, context: Context) -> Source:
        """Emits Downloading. Raises Cancelled soon after a cancel, and keeps what has come; or ModelUnavailable."""
        source = hub_source(self.spec)
        hub = Hub(self.spec.id, source.repo, source.revision, self.endpoint, self.pause)
        repository = CachedRepository(self.cache_dir or default_cache(), source.repo)
        with self._alone(repository):
            listing = hub.listing()
            context.check_cancelled()
            transfer = _Transfer(hub, repository, listing.commit, context)
            snapshot = repository.snapshot(listing.commit)
            if self.spec.kind in SINGLE_KINDS:
                files = plan_single(self.spec, source, listing)
            else:
                files = self._parts(source, listing, transfer, snapshot)
            transfer.bring(files)
            stored = {file.name: _sha256(file, snapshot) for file in files}
            repository.write_record(self.spec.id, Record(source.repo, source.revision, listing.commit, stored))
        return replace(source, revision=listing.commit)

    def _parts(self, source: Source, listing: Listing, transfer: _Transfer, snapshot: Path) -> tuple[RemoteFile, ...]:
        """The files of a whole model, whose index is brought to see what they are."""
        prefix = _prefix(source)
        index = _listed(self.spec, listing, prefix + INDEX)
        transfer.bring((index,), told=False)
        return (index, *plan(self.spec, listing, prefix, snapshot / index.name))

    @contextmanager
    def _alone(self, repository: CachedRepository) -> Iterator[None]:
        """Keep other processes from the same repository. Raises ModelUnavailable if one is at it."""
        from filelock import FileLock, Timeout

        repository.blob("").mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(repository.folder / LOCK, blocking=False):
                yield
        except Timeout as error:
            raise ModelUnavailable("download_elsewhere", model=self.spec.id) from error


def plan(spec: ModelSpec, listing: Listing, prefix: str, index: Path) -> tuple[RemoteFile, ...]:
    """Which files a model needs of a repository: text and one copy of the weights of each part that its index names.

    prefix: of the model's folder inside the repository. Raises ModelUnavailable, before anything large has come.
    """
    try:
        parts = used_parts(json.loads(index.read_text(encoding="utf-8")), spec.id)
    except (ValueError, AttributeError) as error:
        raise ModelUnavailable("model_damaged", model=spec.id, file=INDEX) from error
    by_name = {file.name: file for file in listing.files}
    planned: list[RemoteFile] = []
    for part, library in parts.items():
        folder = f"{prefix}{part}/"
        names = [name.removeprefix(folder) for name in by_name if name.startswith(folder)]
        names = [name for name in names if "/" not in name]
        for lack in lacking(names, library, spec.variant):
            raise ModelUnavailable("model_missing", model=spec.id, missing=f"{part}/{lack}")
        planned += [by_name[folder + name] for name in chosen_files(names, library, spec.variant)]
    return tuple(planned)


def plan_single(spec: ModelSpec, source: Source, listing: Listing) -> tuple[RemoteFile, ...]:
    """Which files a model of one network needs of a repository: its own, and an IP-Adapter's those of its encoder.

    Raises ModelUnavailable, before anything large has come.
    """
    prefix = _prefix(source)
    if spec.kind == "controlnet":
        return _network(spec, listing, prefix, "diffusers")
    weights = (_listed(spec, listing, prefix + source.filename),)
    if spec.kind != "ip_adapter":
        return weights
    elsewhere = [_prefix(one) for one in spec.image_encoder if (one.hub, one.repo) == (source.hub, source.repo)]
    if spec.image_encoder and not elsewhere:
        return weights  # another repository's, which is a model of its own
    return weights + _network(spec, listing, next(iter(elsewhere), f"{prefix}{IMAGE_ENCODER}/"), "transformers")


def _network(spec: ModelSpec, listing: Listing, folder: str, library: str) -> tuple[RemoteFile, ...]:
    """The files of one network in a folder of a repository."""
    names = [file.name.removeprefix(folder) for file in listing.files if file.name.startswith(folder)]
    names = [name for name in names if "/" not in name]
    for lack in lacking(names, library, spec.variant):
        raise ModelUnavailable("model_missing", model=spec.id, missing=folder + lack)
    return tuple(_listed(spec, listing, folder + name) for name in network_files(names, library, spec.variant))


def _prefix(source: Source) -> str:
    """Of the names of a source's files in its repository."""
    return f"{source.subfolder}/" if source.subfolder else ""


def _listed(spec: ModelSpec, listing: Listing, name: str) -> RemoteFile:
    """A file of a repository. Raises ModelUnavailable if it has none of this name."""
    for file in listing.files:
        if file.name == name:
            return file
    raise ModelUnavailable("model_missing", model=spec.id, missing=name)


class _Transfer:
    """Brings files of one commit into the cache, and tells how far it is."""

    def __init__(self, hub: Hub, repository: CachedRepository, commit: str, context: Context) -> None:
        self._hub, self._repository, self._commit, self._context = hub, repository, commit, context
        self._done_bytes = self._total_bytes = 0
        self._file = ""
        self._told = True
        self._told_at = 0.0

    def bring(self, files: tuple[RemoteFile, ...], told: bool = True) -> None:
        """Have all of these files. Raises Cancelled, or ModelUnavailable, also where the disk has no room for them."""
        self._told = told
        contents = {file.content_hash: file for file in files}
        missing = [file for file in contents.values() if not self._is_there(file)]
        partials = [self._partial(file) for file in missing]
        begun_bytes = sum(one.stat().st_size for one in partials if one.is_file())
        missing_bytes = sum(file.bytes for file in missing)
        self._total_bytes = sum(file.bytes for file in contents.values())
        self._done_bytes = self._total_bytes - missing_bytes + begun_bytes
        self._check_room(missing_bytes - begun_bytes)
        for file in missing:
            self._file = file.name
            self._tell()
            self._hub.fetch(file, self._commit, self._partial(file), self._arrived)
            os.replace(self._partial(file), self._repository.blob(file.content_hash))
        for file in files:
            self._repository.point(self._commit, file.name, file.content_hash)
        self._tell()

    def _partial(self, file: RemoteFile) -> Path:
        """Where the contents of a file gather until they are whole."""
        return self._repository.blob(file.content_hash + PARTIAL_SUFFIX)

    def _is_there(self, file: RemoteFile) -> bool:
        """Whether the cache has a file already, perhaps for another commit. What is damaged is thrown away."""
        for path in (self._repository.blob(file.content_hash), self._repository.snapshot(self._commit) / file.name):
            if path.is_file():
                if has_contents(path, file, self._context.check_cancelled):
                    return True
                path.unlink()
        return False

    def _check_room(self, needed_bytes: int) -> None:
        free_bytes = shutil.disk_usage(self._repository.folder).free
        if needed_bytes > free_bytes:
            raise ModelUnavailable(
                "no_disk_space",
                model=self._hub.model_id,
                needed=f"{needed_bytes / 1e9:.2f} GB",
                free=f"{free_bytes / 1e9:.2f} GB",
                folder=self._repository.cache,
            )

    def _arrived(self, more_bytes: int) -> None:
        self._done_bytes += more_bytes
        self._context.check_cancelled()
        if time.monotonic() - self._told_at >= TELL_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        if not self._told:
            return
        event = Downloading(self._hub.model_id, self._done_bytes, self._total_bytes, self._file)
        self._context.emit(event)


def _sha256(file: RemoteFile, snapshot: Path) -> str:
    """SHA-256 of a file that was brought: the hub's own word where it is one, which was checked as it came."""
    return file.content_hash if len(file.content_hash) == 64 else file_sha256(snapshot / file.name)


@dataclass(frozen=True)
class _Lane:
    """What downloads run on: no device, and no models."""

    device: str = OWNER


class Downloads:
    """The downloads of a studio: one after another, beside the pictures, and one of a model however many ask."""

    def __init__(self, work: Callable[[ModelSpec], Any] = Download) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._queue = JobQueue(cast("Registry", _Lane()), max_queued_per_owner=16)

    def start(self, spec: ModelSpec) -> Job:
        """The job that downloads a model: the one that is under way, or a new one. Raises StudioError."""
        with self._lock:
            job = self._jobs.get(spec.id)
            if job is None or job.finished:
                job = self._jobs[spec.id] = self._queue.submit(self._work(spec), OWNER)
            return job

    def job(self, model_id: str) -> Job | None:
        """A model's last download, under way or ended; None if nobody has asked for it."""
        with self._lock:
            return self._jobs.get(model_id)

    def stop(self, model_id: str) -> None:
        """Stop a model's download. What has come is kept, and the next one goes on from there."""
        job = self.job(model_id)
        if job is not None and not job.finished:
            self._queue.cancel(job.id, OWNER)

    def close(self) -> None:
        """Stop all of them."""
        self._queue.close()
