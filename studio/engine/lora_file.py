"""A LoRA's file before any tensor of it is read: what its header says, and whether that can be true. Free of torch.

Each rule is one function that raises ModelUnavailable, which says what is wrong and names the first offender.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studio.diffusion.lora_keys import Shape
from studio.engine.folders import HEADER_LENGTH_BYTES, read_header
from studio.errors import ModelUnavailable

MAX_FILE_BYTES = 500_000_000
MAX_LORA_HEADER_BYTES = 4_000_000
MAX_TENSORS = 20_000
METADATA = "__metadata__"
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number, of the kinds that a LoRA may be stored in."""
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How files of torch.save begin: a zip, or a bare pickle."""
MAX_NAMED = 120
"""So many characters of a stranger's key are shown."""


@dataclass(frozen=True)
class LoraFile:
    """What a header says. start: where the tensors' bytes begin; shapes: by name; metadata: as its writer put it."""

    path: Path
    start: int
    shapes: Mapping[str, Shape]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class _Seen:
    """A file on its way through the rules."""

    path: Path
    model: str
    start: int = 0
    header: Mapping[str, Any] | None = None

    def refused(self, key: str, **values: object) -> ModelUnavailable:
        return ModelUnavailable(key, model=self.model, **values)


class _Twice(ValueError):
    """A key that stands in one object twice."""


def read_lora(path: Path, model: str) -> LoraFile:
    """The header of a file that keeps every rule here. model: its name, for the messages. Raises ModelUnavailable."""
    seen = _Seen(path, model)
    _not_too_large(seen)
    _no_pickle(seen)
    seen = _with_header(seen)
    _not_too_many(seen)
    assert seen.header is not None
    tensors = {name: told for name, told in seen.header.items() if name != METADATA}
    for name, told in tensors.items():
        _well_formed(seen, name, told)
        _stored_as_floats(seen, name, told)
    _covers_the_file(seen, tensors)
    shapes = {name: tuple(told["shape"]) for name, told in tensors.items()}
    return LoraFile(path, seen.start, shapes, _metadata(seen))


def _not_too_large(seen: _Seen) -> None:
    """At least a header's length, at most 500 MB."""
    size = seen.path.stat().st_size
    if size <= HEADER_LENGTH_BYTES:
        raise seen.refused("lora_empty")
    if size > MAX_FILE_BYTES:
        raise seen.refused("lora_file_too_large", value_mb=-(-size // 10**6), maximum_mb=MAX_FILE_BYTES // 10**6)


def _no_pickle(seen: _Seen) -> None:
    """Safetensors by what is in the file, whatever it is called: pickles bring code of their own."""
    with seen.path.open("rb") as opened:
        start = opened.read(HEADER_LENGTH_BYTES + 1)
    if start[HEADER_LENGTH_BYTES:] == b"{":  # the header's length alone may look like a pickle's beginning
        return
    raise seen.refused("lora_pickle" if start.startswith(PICKLE_STARTS) else "lora_not_safetensors")


def _with_header(seen: _Seen) -> _Seen:
    """The header: at most 4 MB of JSON that ends before the file does, no key in it twice."""
    with seen.path.open("rb") as opened:
        length = int.from_bytes(opened.read(HEADER_LENGTH_BYTES), "little")
    if length > MAX_LORA_HEADER_BYTES:
        raise seen.refused("lora_header_too_large", value=f"{length:,}", maximum=f"{MAX_LORA_HEADER_BYTES:,}")
    if HEADER_LENGTH_BYTES + length > seen.path.stat().st_size:
        raise seen.refused("lora_wrong_length")
    try:
        start, header = read_header(seen.path, MAX_LORA_HEADER_BYTES, _once)
    except _Twice as error:
        raise seen.refused("lora_duplicate_key", tensor=str(error)[:MAX_NAMED]) from error
    except (ValueError, RecursionError) as error:
        raise seen.refused("lora_not_safetensors") from error
    return replace(seen, start=start, header=header)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of an object as a mapping. Raises _Twice that names a key which stands there twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name)
        found[name] = value
    return found


def _not_too_many(seen: _Seen) -> None:
    """At least one tensor, at most 20,000."""
    assert seen.header is not None
    count = len(seen.header.keys() - {METADATA})
    if not count:
        raise seen.refused("lora_no_tensors")
    if count > MAX_TENSORS:
        raise seen.refused("lora_too_many_tensors", value=f"{count:,}", maximum=f"{MAX_TENSORS:,}")


def _well_formed(seen: _Seen, name: str, told: Any) -> None:
    """A type, a shape of whole numbers above 0, and where the bytes begin and end."""
    if not (isinstance(told, dict) and isinstance(told.get("dtype"), str)):
        raise seen.refused("lora_bad_entry", tensor=name[:MAX_NAMED])
    shape, offsets = told.get("shape"), told.get("data_offsets") or ()
    if not (_whole_numbers(shape, 1) and _whole_numbers(offsets, 0) and len(offsets) == 2):
        raise seen.refused("lora_bad_entry", tensor=name[:MAX_NAMED])


def _whole_numbers(values: Any, minimum: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= minimum for value in values)


def _stored_as_floats(seen: _Seen, name: str, told: Mapping[str, Any]) -> None:
    """Halves, singles or doubles; neither whole numbers nor packed ones."""
    if told["dtype"] not in DTYPES:
        raise seen.refused("lora_dtype", tensor=name[:MAX_NAMED], value=told["dtype"][:20], choices=", ".join(DTYPES))


def _covers_the_file(seen: _Seen, tensors: Mapping[str, Mapping[str, Any]]) -> None:
    """One tensor behind the other from the header to the file's end, each as long as its shape says."""
    end = 0
    for name, told in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = told["data_offsets"]
        if first != end or last - first != math.prod(told["shape"]) * DTYPES[told["dtype"]]:
            raise seen.refused("lora_bad_offsets", tensor=name[:MAX_NAMED])
        end = last
    if seen.start + end != seen.path.stat().st_size:
        raise seen.refused("lora_wrong_length")


def _metadata(seen: _Seen) -> dict[str, str]:
    """What the writer said of the file, as texts; whatever is none is left out."""
    assert seen.header is not None
    told = seen.header.get(METADATA)
    if not isinstance(told, dict):
        return {}
    return {name: value for name, value in told.items() if isinstance(value, str)}


def listed(metadata: Mapping[str, str], name: str) -> Any:
    """A JSON value in the metadata, or None."""
    try:
        return json.loads(metadata.get(name, ""))
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Hashes:
    """sha256: of the file; tensors: of what stands behind the header, which a change of the metadata leaves alone.

    AUTOMATIC1111 shows the first ten digits of the one for checkpoints (AutoV2), and writes the first twelve of the
    other into pictures, as "Lora hashes" (kohya's, AutoV3).
    """

    sha256: str
    tensors: str

    @property
    def autov2(self) -> str:
        return self.sha256[:10]

    @property
    def autov3(self) -> str:
        return self.tensors[:12]


def hashes_of(path: Path) -> Hashes:
    """Both hashes of a file in safetensors' format."""
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        opened.seek(0)
        opened.seek(HEADER_LENGTH_BYTES + int.from_bytes(opened.read(HEADER_LENGTH_BYTES), "little"))
        return Hashes(sha256, hashlib.file_digest(opened, "sha256").hexdigest())
