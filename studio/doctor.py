"""`python -m studio doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.settings import ROOT, Settings, memory_bytes, resolve
from studio.text import size, t

if TYPE_CHECKING:
    from studio.engine.places import Place

PINNED = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")
EYE = "perception"
EVALUATIONS = "evaluations"
"""Beside the models: what the long measurements of them answered last."""
MARKS = {True: "ok", False: "!!", None: "--"}


@dataclass(frozen=True)
class Finding:
    """One line. good: True, False (needed and missing) or None (told, not judged); key: of assets/i18n."""

    good: bool | None
    key: str
    values: dict[str, object] = field(default_factory=dict)

    def line(self, language: str) -> str:
        return f"{MARKS[self.good]}  {t(self.key, language, **self.values)}"


def installed_version(package: str) -> str | None:
    """The version that is installed, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything the doctor looks at."""
    version, requirements = platform.python_version(), ROOT / "requirements.txt"
    yield Finding(sys.version_info >= (3, 11), "doctor.python", {"version": version, "path": sys.executable})
    yield from examine_packages(requirements, installed_version)
    yield from examine_opencv(installed_version)
    if installed_version("torch"):
        yield from examine_machine(settings)
    yield from examine_models(settings.models_dir)
    if installed_version("huggingface_hub"):
        yield from examine_hub_models(settings.models_dir)


def examine_packages(requirements: Path, version_of: Callable[[str], str | None]) -> Iterator[Finding]:
    """Each pinned package against what is installed; a local build such as 2.15.0+cpu is the same version."""
    for line in requirements.read_text(encoding="utf-8").splitlines():
        pinned = PINNED.fullmatch(line.strip())
        if not pinned:
            continue
        name, wanted = pinned.groups()
        found = version_of(name)
        if found is None:
            yield Finding(False, "doctor.package_missing", {"name": name, "wanted": wanted})
        elif found.partition("+")[0] != wanted:
            yield Finding(False, "doctor.package_other", {"name": name, "wanted": wanted, "found": found})
        else:
            yield Finding(True, "doctor.package", {"name": name, "found": found})


def examine_opencv(version_of: Callable[[str], str | None]) -> Iterator[Finding]:
    """Both builds write into one `cv2` folder: with two versions it is a mixture of files."""
    plain, headless = version_of("opencv-python"), version_of("opencv-python-headless")
    if plain and headless:
        same = plain == headless
        yield Finding(same, "doctor.opencv" if same else "doctor.opencv_mixed", {"plain": plain, "headless": headless})


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """The device that will be used, and what models may take of its memory. Imports torch."""
    try:
        resolved = resolve(settings)
    except StudioError as error:
        yield Finding(False, f"error.{error.key}", error.values)
        return
    yield Finding(True, "doctor.device", {"device": resolved.device, "dtype": resolved.dtype})
    yield Finding(True, "doctor.memory", {"limit": size(resolved.ram_limit_bytes), "total": size(memory_bytes())})
    if resolved.vram_limit_bytes:
        yield Finding(True, "doctor.vram", {"limit": size(resolved.vram_limit_bytes)})


def examine_models(models_dir: Path) -> Iterator[Finding]:
    """The models that the project ships, then whatever else lies in the folder."""
    from studio.catalog import specs

    own = [spec for spec in specs().values() if all(source.hub == "local" for source in spec.sources)]
    shipped = [models_dir / Path(source.repo).name for spec in own for source in spec.sources] + [models_dir / EYE]
    others = [one for one in models_dir.glob("*") if one.is_dir() and one not in shipped and one.name != EVALUATIONS]
    for folder in shipped:
        yield examine_model(folder, needed=True)
    for folder in sorted(others):
        yield examine_model(folder, needed=False)


def examine_hub_models(models_dir: Path) -> Iterator[Finding]:
    """The models that come from a hub and were not put into the models folder: in the hub's cache, or not yet here."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    from studio.catalog import specs
    from studio.engine.loaders import FolderLoader
    from studio.engine.places import Places

    remote = {
        spec.id: replace(spec, sources=tuple(source for source in spec.sources if source.hub != "local"))
        for spec in specs().values()
        if spec.download_bytes and not (models_dir / spec.id).is_dir()
    }
    for place in Places(FolderLoader(ROOT), remote).look().values():
        yield examine_place(place)
    if HF_HUB_OFFLINE:
        yield Finding(None, "doctor.offline")


def examine_place(place: Place) -> Finding:
    """One model of a hub: where it came from, or how to get it."""
    name = place.spec.id
    if place.problem is None and place.source is not None:
        values = {"size": size(place.bytes), "repo": place.source.repo, "revision": place.source.revision[:8]}
        return Finding(True, "doctor.model_hub", {"name": name, **values})
    if place.problem is not None and place.problem.key != "not_downloaded":
        return Finding(None, f"error.{place.problem.key}", place.problem.values)
    return Finding(None, "doctor.model_absent", {"name": name, "size": size(place.spec.download_bytes)})


def examine_model(folder: Path, needed: bool) -> Finding:
    """One model: its size, or the files that it lacks and how to get them."""
    missing = missing_files(folder)
    if missing:
        key = "doctor.model_needed" if needed else "doctor.model_incomplete"
        return Finding(False if needed else None, key, {"name": folder.name, "missing": ", ".join(missing)})
    stored_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding(True, "doctor.model", {"name": folder.name, "size": size(stored_bytes)})


def missing_files(folder: Path) -> list[str]:
    """What the folder's own lists promise and it does not hold: parts of a pipeline, weights, shards of weights.

    A list that cannot be read counts as missing.
    """
    if not folder.is_dir():
        return [f"{folder.name}/"]
    if (folder / "model_index.json").is_file():
        missing = _missing_parts(folder)
    else:
        missing = [] if any(folder.rglob("*.safetensors*")) else ["*.safetensors"]
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        inside = index.parent.relative_to(folder)
        missing += [(inside / name).as_posix() for name in _missing_shards(index)]
    return missing


def _missing_shards(index: Path) -> list[str]:
    """Which of the files are missing that a list of sharded weights names."""
    listed = _read(index)
    if listed is None:
        return [index.name]
    return sorted(name for name in set(listed["weight_map"].values()) if not (index.parent / name).is_file())


def _missing_parts(folder: Path) -> list[str]:
    """What the parts lack that a pipeline's list names."""
    listed = _read(folder / "model_index.json")
    if listed is None:
        return ["model_index.json"]
    parts = [name for name, made in listed.items() if isinstance(made, list) and made[0]]
    return [lack for name in parts if (lack := _lack_of_part(folder, name))]


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON file's object, or None if it is damaged."""
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return read


def _lack_of_part(folder: Path, name: str) -> str | None:
    """What one part of a pipeline lacks. A model has config.json and weights, other parts files of other names."""
    part = folder / name
    if not part.is_dir() or not any(part.glob("*.json")):
        return f"{name}/"
    if (part / "config.json").is_file() and not any(part.glob("*.safetensors*")):
        return f"{name}/*.safetensors"
    return None


def report(settings: Settings) -> int:
    """Print the findings in the person's language; 1 if something needed is missing, else 0."""
    findings = list(examine(settings))
    for finding in findings:
        print(finding.line(settings.language))
    healthy = all(finding.good is not False for finding in findings)
    print(t("doctor.healthy" if healthy else "doctor.ill", settings.language))
    return 0 if healthy else 1
