"""From the raw values of a page's units to the uses of controls in a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from studio.engine.pictures import open_picture
from studio.errors import InvalidInput, StudioError
from studio.types import ControlUse
from studio.ui.brush import read_drawn
from studio.ui.found import OWN, Size
from studio.ui.source import uploaded
from studio.world.maps import MAP_KINDS, MapKind
from studio.world.skeleton import draw_skeletons, read_skeletons

if TYPE_CHECKING:
    from studio.build import Studio


def place_of(kind: MapKind, way: str) -> str:
    """Where a map is shown: edges and skeletons can be changed by hand."""
    if kind == "canny":
        return "edges"
    return "skeleton" if kind == "pose" and way != OWN else "plain"


def missing_model(studio: Studio, kind: str, base_id: Any) -> StudioError | None:
    """Why a kind of map cannot steer a model now, or None."""
    try:
        model_id = model_of(studio, kind, base_id)
    except InvalidInput as error:
        return error
    return studio.places.look()[model_id].problem


def model_of(studio: Studio, kind: str, base_id: Any) -> str:
    """The ControlNet for a kind of map that fits a base. Raises InvalidInput where the studio knows none."""
    family = next((one.id for one in studio.catalog for spec in one.specs if spec.id == base_id), str(base_id)[:40])
    for control in studio.controls:
        for spec in control.specs:
            if control.id == kind and spec.family == family:
                return spec.id
    raise InvalidInput("no_control_for_family", field="kind", control=kind, family=family)


def kind_of(value: Any) -> MapKind:
    """A raw value as a kind of map. Raises InvalidInput."""
    if value not in MAP_KINDS:
        raise InvalidInput("not_a_choice", field="kind", value=str(value)[:40], choices=", ".join(MAP_KINDS))
    return cast(MapKind, value)


def uses_of(studio: Studio, base_id: Any, size: Size, values: Mapping[str, Any], numbers: range) -> list[ControlUse]:
    """The uses of the units that are on, from the raw values of their widgets. Raises InvalidInput."""
    uses = []
    for number in numbers:
        prefix = f"unit{number}_"
        own = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
        if own["on"] is not True:
            continue
        kind = kind_of(own["kind"])
        doses = {name: own[name] for name in ("scale", "start", "end")}
        uses.append(ControlUse(kind, model_of(studio, kind, base_id), (_map_of(own, size),), **doses))
    if not uses:
        raise InvalidInput("no_unit_on", field="controls")
    return uses


def _map_of(own: Mapping[str, Any], size: Size) -> Image.Image:
    """The map that a unit shows."""
    match place_of(own["kind"], str(own["way"])):
        case "edges":
            return read_drawn(own["edges"], "map")
        case "plain":
            return open_picture(uploaded(own["plain"], "map"), "map").image
        case _:
            return draw_skeletons(read_skeletons(str(own["skeleton"])), *size)
