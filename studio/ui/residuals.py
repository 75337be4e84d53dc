"""What ControlNets add, as a heat map: a row for each zero convolution, a column for each step."""

from __future__ import annotations

from collections.abc import Sequence

from studio.engine.residuals import Residuals
from studio.text import t
from studio.ui.widgets import plain

PALETTE = ((13, 8, 40), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 196))
"""Dark violet, red, yellow, pale: even steps of lightness, so that it reads without colour too."""
CELL = 10
"""In units of the drawing, which fills its column."""


def residual_map(found: Residuals, language: str) -> str:
    """One map for each unit; the brightest colour is the largest number of all of them."""
    most = max(value for unit in found.units for step in unit for value in step) or 1.0
    maps = "".join(_unit(unit, number, found.names, most, language) for number, unit in enumerate(found.units, start=1))
    scale = (
        f'<div class="inside-scale"><span>{plain(t("residual.scale", language))}</span>'
        f'<span class="inside-colours"></span><span>0</span><span class="inside-high">{most:.3g}</span></div>'
    )
    return (
        f'<div class="studio-heat">{maps}{scale}<p class="studio-note">{plain(t("residual.info", language))}</p></div>'
    )


def _unit(unit: Sequence[Sequence[float]], number: int, names: Sequence[str], most: float, language: str) -> str:
    """Rows from the first zero convolution to the middle one, columns from the first step to the last."""
    cells = "".join(
        f'<rect x="{CELL * column}" y="{CELL * row}" width="{CELL}" height="{CELL}" fill="{colour(value / most)}">'
        f"<title>{plain(t('residual.cell', language, name=names[row], step=column + 1, value=f'{value:.3g}'))}</title>"
        "</rect>"
        for column, step in enumerate(unit)
        for row, value in enumerate(step)
    )
    rows = "".join(f"<span>{plain(name)}</span>" for name in names)
    title = t("residual.unit", language, number=number)
    return (
        f"<h4>{plain(title)}</h4>"
        f'<div class="studio-heat-map"><div class="studio-heat-names">{rows}</div>'
        f'<svg viewBox="0 0 {CELL * len(unit)} {CELL * len(names)}" preserveAspectRatio="none" role="img"'
        f' aria-label="{plain(title)}">{cells}</svg></div><p class="studio-note">{plain(t("residual.x", language))}</p>'
    )


def colour(share: float) -> str:
    """A share from 0 to 1 on the palette."""
    place = min(1.0, max(0.0, share)) * (len(PALETTE) - 1)
    below = min(int(place), len(PALETTE) - 2)
    mixed = (low + (high - low) * (place - below) for low, high in zip(PALETTE[below], PALETTE[below + 1], strict=True))
    return f"rgb({' '.join(str(round(channel)) for channel in mixed)})"
