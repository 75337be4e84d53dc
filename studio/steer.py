"""What the command line says of controls: each wish becomes one use of a control in the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studio.errors import InvalidInput
from studio.types import Control, ControlUse, Fit, Ground

if TYPE_CHECKING:
    from PIL.Image import Image


class Detects(Protocol):
    """Whoever finds maps in pictures."""

    def detect(self, detector_id: str, picture: Image, **options: Any) -> Image: ...


@dataclass(frozen=True)
class Steered:
    """What a wish steers: a base of a family that draws pictures of a size. detectors: of the studio."""

    family: str
    controls: Sequence[Control]
    size: tuple[int, int]
    detectors: Detects


class Steer(Protocol):
    """A wish that a control fulfils."""

    def use(self, steered: Steered) -> ControlUse:
        """The use for what is steered. Raises InvalidInput for what no control can do."""


@dataclass(frozen=True)
class Mapped:
    """A map to follow, told as "KIND:FILE[:SCALE[:START[:END]]]"; "KIND@DETECTOR:FILE..." for a picture in which that
    detector finds the map. fit, ground: how the file comes to the size that is drawn."""

    told: str
    fit: Fit = Fit.CROP
    ground: Ground = Ground.WHITE

    def use(self, steered: Steered) -> ControlUse:
        from studio.engine.pictures import source_picture

        kind, colon, rest = self.told.partition(":")
        file, numbers = _numbers_behind(rest)
        if not (colon and file):
            raise InvalidInput("bad_control", field="control", value=self.told[:40])
        control_id, at, detector = kind.partition("@")
        model_id = model_for(control_id, steered.family, steered.controls)
        picture, _ = source_picture(file_bytes("control", Path(file)), steered.size, self.fit, self.ground)
        if at:
            picture = steered.detectors.detect(detector, picture)
        return ControlUse(
            control_id, model_id, (picture,), **dict[str, Any](zip(("scale", "start", "end"), numbers, strict=False))
        )


def _numbers_behind(told: str) -> tuple[str, list[float]]:
    """A file and up to three numbers behind it; a colon that no number follows belongs to the file's name."""
    parts = told.split(":")
    numbers: list[float] = []
    while len(parts) > 1 and len(numbers) < 3:
        try:
            numbers.insert(0, float(parts[-1]))
        except ValueError:
            break
        parts.pop()
    return ":".join(parts), numbers


@dataclass(frozen=True)
class Referred:
    """Pictures to draw after. references: "FILE" or "FILE:WEIGHT" each; where: which part of the UNet they act in."""

    references: tuple[str, ...]
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    where: str = "all"

    def use(self, steered: Steered) -> ControlUse:
        from studio.engine.pictures import open_picture

        if not self.references:
            raise InvalidInput("needs_image", field="reference")
        told = [_with_weight(one) for one in self.references]
        pictures = tuple(open_picture(file_bytes("reference", path), "reference").image for path, _ in told)
        weights = {f"weight_{number}": weight for number, (_, weight) in enumerate(told, start=1)}
        model_id = model_for("ip_adapter", steered.family, steered.controls)
        options = {"where": self.where, **weights}
        return ControlUse("ip_adapter", model_id, pictures, self.scale, self.start, self.end, options)


def _with_weight(told: str) -> tuple[Path, float]:
    """A file and its weight; a colon that no number follows belongs to the file's name."""
    name, colon, weight = told.rpartition(":")
    try:
        return (Path(name), float(weight)) if colon else (Path(told), 1.0)
    except ValueError:
        return Path(told), 1.0


def model_for(control_id: str, family: str, controls: Sequence[Control]) -> str:
    """The id of a control's first model for a family. Raises InvalidInput where it has none."""
    for control in controls:
        for spec in control.specs:
            if control.id == control_id and spec.family == family:
                return spec.id
    raise InvalidInput("no_control_for_family", field="model", control=control_id, family=family)


def file_bytes(name: str, path: Path | None) -> bytes:
    """The bytes of a picture's file. Raises InvalidInput by the name of its option."""
    if path is None:
        raise InvalidInput("needs_image", field=name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput("not_readable", field=name, value=path, reason=error.strerror) from error
