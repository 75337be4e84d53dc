"""How methods, bits and figures of a comparison are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from studio.engine.comparison import Measured
from studio.errors import StudioError
from studio.text import t
from studio.ui.text import describe
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from studio.quant.method import QuantMethod

FULL_BITS = 32
MOST_DECIBELS = 99.0
OFFERED_BITS = ((8, 8), (8, 6), (8, 5), (8, 4), (4, 8), (4, 4), (3, 3))
"""Of simulated methods; others are typed."""
NONE = "–"
"""Stands where nothing is told."""


def method_name(method: str, language: str) -> str:
    return t(f"quant.method.{method}", language)


def bits_of(row: Measured) -> str:
    """As papers write it: W8A4."""
    return f"W{row.weight_bits}A{row.activation_bits}"


def badge(simulated: bool, language: str) -> str:
    """A small tag that says whether a row is real."""
    kind = "simulated" if simulated else "real"
    return f'<em class="quant-badge quant-{kind}">{plain(t(f"quant.{kind}", language))}</em>'


def decibels(value: float) -> str:
    """One digit behind the point; equal pictures have infinitely many."""
    return "∞" if value > MOST_DECIBELS else f"{value:.1f}"


def choices(methods: Iterable[QuantMethod], language: str = "en") -> list[tuple[str, str]]:
    """What can be compared: a name and an id of every method, the simulated ones with some bits each.

    The names are the same in every language, but for a sign of what is simulated.
    """
    offered = []
    for method in methods:
        name = method_name(method.id, language)
        if not method.simulated:
            offered.append((name, method.id))
            continue
        pairs = method.pairs or OFFERED_BITS
        offered += [(f"≈ {name} W{w}A{a}", f"{method.id}-w{w}a{a}") for w, a in pairs]
    return offered


def unavailable(reasons: Sequence[tuple[str, StudioError]], language: str) -> str:
    """Which methods do not run here, and why; nothing where all do."""
    if not reasons:
        return ""
    listed = "".join(
        f"<li><b>{plain(method_name(method, language))}</b>: {plain(describe(error, language))}</li>"
        for method, error in reasons
    )
    title = plain(t("quant.unavailable", language, count=len(reasons)))
    return f'<details class="quant-missing"><summary>{title}</summary><ul>{listed}</ul></details>'
