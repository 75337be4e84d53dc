"""What is written down of a request's controls: all but their pictures, of which a hash of the pixels tells which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studio.engine.images import pixel_sha256
from studio.engine.lora_tags import CONTROL_ID
from studio.errors import InvalidInput, StudioError
from studio.types import ControlUse

NAMES = ("control_id", "model_id")
NUMBERS = ("scale", "start", "end")
MOST_USES, MOST_OPTIONS, MOST_IMAGES = 16, 32, 16
"""A record that holds more is none of ours."""
MAX_NAME, HASH_CHARACTERS = 200, 64


def recorded(uses: Sequence[ControlUse]) -> list[dict[str, Any]]:
    """Each use by the names of its fields; images: `pixel_sha256` of each."""
    return [
        {
            **{name: getattr(use, name) for name in NAMES},
            **{name: float(getattr(use, name)) for name in NUMBERS},
            "options": dict(use.options),
            "images": [pixel_sha256(image) for image in use.images],
        }
        for use in uses
    ]


def restored(record: Any, problems: list[StudioError]) -> tuple[tuple[ControlUse, ...], dict[str, str]]:
    """The uses of a record without their pictures, and the hashes of those by "controls.<use>.<picture>".

    Adds to `problems` what was steered by what, and what is not within its bounds.
    """
    entries = record if isinstance(record, list) else []
    if entries is not record or len(entries) > MOST_USES:
        problems.append(InvalidInput("not_readable_record", field="controls"))
        return (), {}
    uses: list[ControlUse] = []
    hashes: dict[str, str] = {}
    for entry in entries:
        try:
            use, images = _use(entry)
        except InvalidInput as error:
            problems.append(error)
            continue
        hashes |= {f"controls.{len(uses)}.{place}": sha256 for place, sha256 in enumerate(images)}
        uses.append(use)
    if shown := [use for use in uses if use.control_id != CONTROL_ID]:  # LoRAs come back as tags of the prompt
        names = ", ".join(f"{use.model_id} ({use.scale:g})" for use in shown)
        problems.append(StudioError("picture_steered", names=names))
    return tuple(uses), hashes


def _use(entry: Any) -> tuple[ControlUse, list[str]]:
    """One use, and the hashes of its pictures. Raises InvalidInput."""
    if not isinstance(entry, dict):
        raise InvalidInput("not_readable_record", field="controls")
    names: dict[str, Any] = {name: entry.get(name) for name in NAMES}
    options, images = entry.get("options", {}), entry.get("images", [])
    sound = (
        all(isinstance(name, str) and len(name) <= MAX_NAME for name in names.values())
        and isinstance(options, dict)
        and len(options) <= MOST_OPTIONS
        and all(isinstance(value, (str, int, float, bool)) for value in options.values())
        and isinstance(images, list)
        and len(images) <= MOST_IMAGES
    )
    if not sound:
        raise InvalidInput("not_readable_record", field="controls")
    numbers: dict[str, Any] = {name: entry[name] for name in NUMBERS if name in entry}
    return ControlUse(**names, **numbers, options=options), [str(image)[:HASH_CHARACTERS] for image in images]


def as_units(uses: Iterable[ControlUse]) -> Mapping[str, str]:
    """The uses with pictures as other programs write them: "ControlNet 0", and what it was set to."""
    shown = (use for use in uses if use.images)
    return {
        f"ControlNet {number}": (
            f"Module: none, Model: {use.model_id}, Weight: {use.scale:g}, "
            f"Guidance Start: {use.start:g}, Guidance End: {use.end:g}"
        )
        for number, use in enumerate(shown)
    }
