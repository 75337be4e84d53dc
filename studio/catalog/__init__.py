"""The model families that the studio knows. A new one is a file here, and a place in `FAMILIES`."""

from __future__ import annotations

from studio.catalog import little_world, sd15, sdxl
from studio.types import Family, ModelSpec

FAMILIES: tuple[Family, ...] = (little_world.FAMILY, sd15.FAMILY, sdxl.FAMILY)


def specs() -> dict[str, ModelSpec]:
    """Every model by its id, in the order of the families."""
    return {spec.id: spec for family in FAMILIES for spec in family.specs}
