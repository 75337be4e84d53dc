"""What an artefact was built on, by hash: one that was trained on other weights than the present ones is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.errors import ModelUnavailable

FACTS = "metrics.json"


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(folder: Path) -> str:
    """One hash over all weight files of a folder, in the order of their names."""
    return combined_sha256({path.name: file_sha256(path) for path in folder.glob("*.safetensors")})


def combined_sha256(digests: Mapping[str, str]) -> str:
    """One hash over files, in the order of their names. digests: SHA-256 of each by its name."""
    digest = hashlib.sha256()
    for name in sorted(digests):
        digest.update(name.encode())
        digest.update(bytes.fromhex(digests[name]))
    return digest.hexdigest()


def read_facts(folder: Path, key: str) -> dict[str, Any]:
    """What a training told of its artefact. Raises ModelUnavailable(key) if there is none in the folder."""
    path = folder / FACTS
    if not path.is_file():
        raise ModelUnavailable(key, model=folder.name, missing=FACTS)
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def require_base(folder: Path, part: str, base: Path) -> None:
    """Refuse the artefact in `folder` unless its facts say that it was built on the weights that now lie in `base`.

    part: the base's name in the facts' `builds_on`, such as "unet". Raises ModelUnavailable that names the artefact
    if its facts are missing, or if its base was another one.
    """
    require_built_on(folder.name, read_facts(folder, "model_missing"), part, base)


def require_built_on(name: str, facts: dict[str, Any], part: str, base: Path) -> None:
    """As `require_base`, for an artefact whose facts are read already. name: the artefact's, for the message."""
    require_same(name, part, facts["builds_on"].get(part), weights_sha256(base))


def require_same(name: str, part: str, recorded: str | None, present: str) -> None:
    """Refuse an artefact that was built on another `part` than the present one, both told by their hashes."""
    if recorded != present:
        short = {"recorded": str(recorded)[:12], "present": present[:12]}
        raise ModelUnavailable("other_base", model=name, part=part, **short)
