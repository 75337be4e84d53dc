"""A model's folder in diffusers' format: which files of it are read, and whether they are whole. Free of torch.

Only safetensors and text are read, and only classes of diffusers and transformers are built: a folder cannot bring
code of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.errors import ModelUnavailable
from studio.lineage import combined_sha256, file_sha256

INDEX = "model_index.json"
# Library of a part -> the name of its weights.
WEIGHTS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
# Parts of a Stable Diffusion folder that the studio does not run.
UNUSED_PARTS = ("safety_checker", "feature_extractor", "image_encoder")
# What a training leaves beside its weights; no part of the model.
REMARKS = ("metrics.json", "waking.json")
# What is read beside the weights where a folder holds one network.
NETWORK_TEXT = ("config.json", "preprocessor_config.json")
HALF = "fp16"
"""How repositories call the half-precision copy that they keep beside the weights."""
WITHOUT_WEIGHTS = ("tokenizer_config.json", "scheduler_config.json")
PART_NAME = re.compile(r"[A-Za-z0-9_]+")
HEADER_LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class ModelFolder:
    """A folder that has been looked through. parts: name -> library; variant: of the weights, "" or "fp16";
    files: everything that loading reads; elsewhere: where a part lies that is in no folder of its own name."""

    path: Path
    parts: Mapping[str, str]
    variant: str
    files: tuple[Path, ...]
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def folder_of(self, part: str) -> Path:
        return self.elsewhere.get(part, self.path / part)


def used_parts(index: Mapping[str, Any], model_id: str) -> dict[str, str]:
    """Name -> library of the parts that an index lists and the studio runs.

    Raises ModelUnavailable for a part that would need code from elsewhere.
    """
    listed = {name: entry[0] for name, entry in index.items() if isinstance(entry, list) and entry and entry[0]}
    used = {name: library for name, library in listed.items() if name not in UNUSED_PARTS}
    for name, library in used.items():
        if library not in WEIGHTS or not PART_NAME.fullmatch(name):
            raise ModelUnavailable("model_refused", model=model_id, part=name[:40], library=str(library)[:40])
    return used


def look_through(path: Path, model_id: str, prefer_half: bool = False) -> ModelFolder:
    """What loading a folder reads, once it is sure that it is all there and whole.

    Of weights that lie there in two precisions one copy is read: prefer_half says which. Raises ModelUnavailable that
    names the missing or damaged file, or the part that is refused.
    """
    if not (path / INDEX).is_file():
        raise ModelUnavailable("model_missing", model=model_id, missing=INDEX)
    parts = used_parts(_read_json(path / INDEX, INDEX, model_id), model_id)
    names = {name: _names_in(path / name) for name in parts}
    variant = HALF if _takes_half(names, parts, prefer_half) else ""
    for name, library in parts.items():
        for missing in _missing(path / name, names[name], library, variant, model_id):
            raise ModelUnavailable("model_missing", model=model_id, missing=f"{name}/{missing}")
    chosen = (path / name / file for name in parts for file in chosen_files(names[name], parts[name], variant))
    files = (path / INDEX, *chosen)
    for file in files:
        check_whole(file, file.relative_to(path).as_posix(), model_id)
    return ModelFolder(path, parts, variant, files)


def look_at_network(path: Path, library: str, model_id: str, prefer_half: bool = False) -> tuple[str, tuple[Path, ...]]:
    """As `look_through`, of a folder that holds one network: which copy of its weights is read, and all files."""
    names = _names_in(path)
    variant = HALF if _takes_half({"": names}, {"": library}, prefer_half) else ""
    for missing in _missing(path, names, library, variant, model_id):
        raise ModelUnavailable("model_missing", model=model_id, missing=f"{path.name}/{missing}")
    files = tuple(path / name for name in network_files(names, library, variant))
    for file in files:
        check_whole(file, f"{path.name}/{file.name}", model_id)
    return variant, files


def network_files(names: Iterable[str], library: str, variant: str) -> list[str]:
    """Of the names in the folder of one network those that loading reads."""
    return [one for one in chosen_files(names, library, variant) if ".safetensors" in one or one in NETWORK_TEXT]


def _names_in(part: Path) -> list[str]:
    """The names of the files in a part's folder; of one that is not there, none."""
    return sorted(file.name for file in part.iterdir() if file.is_file()) if part.is_dir() else []


def _takes_half(names: Mapping[str, list[str]], parts: Mapping[str, str], prefer_half: bool) -> bool:
    """Whether the half-precision copies are read: where they are preferred, and where a part has nothing else."""
    half = {name for name in parts if any(_is_of_copy(one, parts[name], HALF) for one in names[name])}
    plain = {name for name in parts if any(_is_of_copy(one, parts[name], "") for one in names[name])}
    return bool(half if prefer_half else half - plain)


def chosen_files(names: Iterable[str], library: str, variant: str) -> list[str]:
    """Of the names in one part's folder those that loading reads: its text, and one copy of its weights.

    A part that has no copy of this variant is read from its plain one.
    """
    names = list(names)
    text = [one for one in names if one.endswith((".json", ".txt")) and ".safetensors" not in one]
    copies = [[one for one in names if _is_of_copy(one, library, kind)] for kind in (variant, "")]
    return [one for one in text if one not in REMARKS] + next(filter(None, copies), [])


def _is_of_copy(name: str, library: str, variant: str) -> bool:
    """Whether a name is that of one copy's weights: the one file, a shard, or the list of the shards."""
    stem, inside, shard = re.escape(WEIGHTS[library]), rf"\.{variant}" if variant else "", r"(-\d+-of-\d+)?"
    weights = rf"{stem}({inside}{shard}|{shard}{inside})\.safetensors"
    return re.fullmatch(rf"{weights}|{stem}\.safetensors\.index{inside}\.json", name) is not None


def lacking(names: Iterable[str], library: str, variant: str) -> Iterator[str]:
    """What a part's folder with files of these names lacks: its configuration, or weights in safetensors."""
    names = list(names)
    if any(config in names for config in WITHOUT_WEIGHTS):
        return
    if "config.json" not in names:
        yield "config.json"
    if not any(one.endswith(".safetensors") for one in chosen_files(names, library, variant)):
        yield f"{WEIGHTS[library]}.safetensors"


def _missing(part: Path, names: list[str], library: str, variant: str, model_id: str) -> Iterator[str]:
    """What a part lacks, shards of its weights that their list names among it."""
    yield from lacking(names, library, variant)
    for listed in (one for one in chosen_files(names, library, variant) if ".safetensors.index" in one):
        shards = _read_json(part / listed, f"{part.name}/{listed}", model_id).get("weight_map")
        if not isinstance(shards, dict):
            raise ModelUnavailable("model_damaged", model=model_id, file=f"{part.name}/{listed}")
        yield from sorted({str(shard) for shard in shards.values()} - set(names))


def check_whole(file: Path, name: str, model_id: str) -> None:
    """Raise ModelUnavailable that names a file whose text or whose weights end too early, or are none."""
    if file.suffix == ".json":
        _read_json(file, name, model_id)
    elif file.suffix == ".safetensors" and not _weights_end_where_they_should(file):
        raise ModelUnavailable("model_damaged", model=model_id, file=name)


def tensor_names(file: Path) -> set[str]:
    """The names of the tensors in a file of weights that is whole."""
    return read_header(file)[1].keys() - {"__metadata__"}


def tensor_metadata(file: Path) -> dict[str, str]:
    """What whoever wrote a file of weights that is whole said of it."""
    return {str(name): str(told) for name, told in dict(read_header(file)[1].get("__metadata__") or {}).items()}


def read_header(
    file: Path, limit_bytes: int = MAX_HEADER_BYTES, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """Where a safetensors file's header ends, and what it says. Raises ValueError where it makes no sense.

    pairs_hook: is given the pairs of each object, as `json.loads` does; it sees keys that stand there twice.
    """
    with file.open("rb") as opened:
        start = opened.read(HEADER_LENGTH_BYTES)
        if len(start) < HEADER_LENGTH_BYTES:
            raise ValueError("no header")
        (length,) = struct.unpack("<Q", start)
        if length > limit_bytes:
            raise ValueError("no header")
        header = json.loads(opened.read(length), object_pairs_hook=pairs_hook)
    if not isinstance(header, dict):
        raise ValueError("no header")
    return HEADER_LENGTH_BYTES + length, header


def _weights_end_where_they_should(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        start, header = read_header(file)
        header.pop("__metadata__", None)
        data_bytes = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    return bool(start + data_bytes == file.stat().st_size)


def _read_json(file: Path, name: str, model_id: str) -> dict[str, Any]:
    """A JSON file's object. Raises ModelUnavailable that names it if it is none."""
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError among them
        raise ModelUnavailable("model_damaged", model=model_id, file=name) from error
    if not isinstance(read, dict):
        raise ModelUnavailable("model_damaged", model=model_id, file=name)
    return read


def file_digests(folder: ModelFolder) -> dict[str, str]:
    """SHA-256 of every file that a model is read from, by its name in the folder; cards and metrics do not count."""
    named = ((Path(os.path.relpath(file, folder.path)).as_posix(), file) for file in sorted(folder.files))
    return {name: file_sha256(file) for name, file in named}


def part_digests(digests: Mapping[str, str]) -> dict[str, str]:
    """Part -> the one hash over its weights that `lineage.weights_sha256` gives of its folder. digests: as above."""
    weights: dict[str, dict[str, str]] = {}
    for name, digest in digests.items():
        part, _, file = name.rpartition("/")
        if file.endswith(".safetensors"):
            weights.setdefault(part, {})[file] = digest
    return {part: combined_sha256(files) for part, files in weights.items()}


def folder_sha256(digests: Mapping[str, str]) -> str:
    """One hash over the names and contents of all files that a model is read from."""
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in digests.items()).encode()).hexdigest()
