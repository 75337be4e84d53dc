"""The LoRAs at hand: those that come with the studio, and those that a person brought through the gate."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from studio.engine.files import write_atomically
from studio.engine.lora_base import BaseWeights, Look, base_weights
from studio.engine.lora_file import hashes_of
from studio.engine.lora_gate import LoraGate, Passed
from studio.engine.lora_tags import model_id
from studio.engine.lora_truth import Truth, spectra, triggers_of, truth_of
from studio.errors import InvalidInput, ModelUnavailable
from studio.types import ModelSpec, Source

ENDING = ".safetensors"
MAX_OWN = 64
"""So many files of a person's own are kept."""
MAX_NAME = 60
NOT_IN_NAMES = re.compile(r"[^\w.-]+")
DECODED_BYTES = 4


@dataclass(frozen=True)
class OnShelf:
    """One LoRA. spec: None where problem says why it cannot be used; own: brought by a person."""

    name: str
    family: str
    path: Path
    own: bool
    triggers: tuple[str, ...] = ()
    spec: ModelSpec | None = None
    problem: ModelUnavailable | None = field(default=None, compare=False)


class LoraShelf:
    """What lies in two folders: the studio's own of one family, and a person's, with a folder for each family.

    bases: the models of the catalogue by id; look: `FolderLoader.look`. Any thread may use it.
    """

    def __init__(self, shipped: Mapping[str, Path], own: Path, bases: Mapping[str, ModelSpec], look: Look) -> None:
        self._shipped, self._own = dict(shipped), own
        self._bases, self._look = dict(bases), look
        self._lock = threading.Lock()
        self.gate = LoraGate(self.base)
        self._id = lru_cache(4 * MAX_OWN)(_id)
        self._truth = lru_cache(MAX_OWN)(truth_of)
        self._spectra = lru_cache(MAX_OWN)(spectra)

    def base(self, family: str) -> BaseWeights:
        """The first base of a family that is at hand. Raises ModelUnavailable: what the last one lacks."""
        failure = ModelUnavailable("lora_no_base", model=family, family=family)
        for spec in self._bases.values():
            if spec.family == family:
                try:
                    return base_weights(spec, self._look)
                except ModelUnavailable as error:
                    failure = error
        raise failure

    def items(self) -> tuple[OnShelf, ...]:
        """Every file that lies there, the studio's own first, by name. One that does not pass says why."""
        with self._lock:
            return tuple(self._item(*place) for place in self._places())

    def usable(self, family: str | None = None) -> dict[str, OnShelf]:
        """By name, those that can be used, of a family or of all."""
        return {one.name: one for one in self.items() if one.spec is not None and family in (None, one.family)}

    def specs(self) -> tuple[ModelSpec, ...]:
        """What a registry may lease."""
        return tuple(one.spec for one in self.items() if one.spec is not None)

    def add(self, file: Path, filename: str, base_id: str) -> OnShelf:
        """Let a person's file through the gate and keep a copy of it. filename: as it was called.

        Raises ModelUnavailable for a file that does not pass, InvalidInput for a base that is not known, a name that is
        taken by another file and a shelf that is full.
        """
        if base_id not in self._bases:
            raise InvalidInput("not_a_choice", field="base_id", value=base_id[:40], choices=", ".join(self._bases))
        family = self._bases[base_id].family
        name = NOT_IN_NAMES.sub("_", Path(filename.replace("\\", "/")).name.removesuffix(ENDING)).strip("._-")[
            :MAX_NAME
        ]
        name = name or "lora"
        self.gate.passed(file, name, family)
        with self._lock:
            there = {place[0]: place for place in self._places()}
            if name in there:
                return self._same(self._item(*there[name]), file)
            self.require_room()
            kept = self._own / family / f"{name}{ENDING}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, file.read_bytes())
            return self._item(name, family, kept, True)

    def require_room(self) -> None:
        """Raises InvalidInput where no further file of a person's own can be kept."""
        if sum(is_own for *_, is_own in self._places()) >= MAX_OWN:
            raise InvalidInput("lora_shelf_full", field="file", maximum=MAX_OWN)

    def passed(self, name: str) -> Passed:
        """A file by its name on the shelf. Raises InvalidInput for one that is not there, ModelUnavailable."""
        for place, family, path, _ in self._places():
            if place == name:
                return self.gate.passed(path, name, family)
        raise InvalidInput("no_such_lora", field="lora", value=name[:40], choices=", ".join(self.usable()) or "-")

    def truth(self, name: str) -> Truth:
        """As `truth_of`, remembered while the file stays as it is. Raises as `passed`."""
        return self._truth(self.passed(name))

    def spectra(self, name: str) -> dict[str, tuple[float, ...]]:
        """As `studio.engine.lora_truth.spectra`, remembered likewise. Raises as `passed`."""
        return self._spectra(self.passed(name))

    def _same(self, there: OnShelf, file: Path) -> OnShelf:
        """What is on the shelf already, if it is the same. Raises InvalidInput."""
        if hashes_of(there.path) != hashes_of(file):
            raise InvalidInput("lora_on_shelf", field="file", value=there.name)
        return there

    def _places(self) -> Iterator[tuple[str, str, Path, bool]]:
        """Name, family, file, and whether it is a person's own; of two of one name the first alone."""
        seen: set[str] = set()
        own = {folder.name: folder for folder in sorted(self._own.glob("*")) if folder.is_dir()}
        for folders, is_own in ((self._shipped, False), (own, True)):
            for family, folder in folders.items():
                for path in sorted(folder.glob(f"*{ENDING}")):
                    if path.stem not in seen:
                        seen.add(path.stem)
                        yield path.stem, family, path, is_own

    def _item(self, name: str, family: str, path: Path, own: bool) -> OnShelf:
        try:
            if NOT_IN_NAMES.search(name):
                raise ModelUnavailable("lora_name", model=name)
            passed = self.gate.passed(path, name, family)
        except ModelUnavailable as error:
            return OnShelf(name, family, path, own, problem=ModelUnavailable(error.key, **error.values))
        spec = ModelSpec(
            id=self._id(path, path.stat().st_mtime_ns, name),
            kind="lora",
            family=family,
            title=name,
            sources=(Source("local", str(path.parent), filename=path.name),),
            bytes_estimate=DECODED_BYTES * sum(map(math.prod, passed.file.shapes.values())),
        )
        return OnShelf(name, family, path, own, triggers_of(passed.file.metadata), spec)


def _id(path: Path, changed_ns: int, name: str) -> str:
    return model_id(name, hashes_of(path).tensors)
