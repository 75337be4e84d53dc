"""The table of a comparison, which a click on a heading sorts, and the same as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO

from studio.engine.comparison import Measured
from studio.text import t
from studio.ui.quant_names import MOST_DECIBELS, NONE, badge, decibels, method_name
from studio.ui.widgets import plain


@dataclass(frozen=True)
class Column:
    """name: under `quant.column.` in assets/i18n; value: what it is sorted by and what the CSV holds, None where
    nothing is told; written: as the page writes it. best: whether the largest (1) or the smallest (-1) is marked."""

    name: str
    value: Callable[[Measured], float | None]
    written: Callable[[float], str]
    best: int = 0


def _spent(read: Callable[[Measured], float]) -> Callable[[Measured], float | None]:
    """Of real rows alone."""
    return lambda row: None if row.spent is None else read(row)


def _spread(row: Measured) -> float:
    """Half the way from the fastest picture to the slowest."""
    assert row.spent is not None
    return (max(row.spent.seconds) - min(row.spent.seconds)) / 2


COLUMNS = (
    Column("weight_bits", lambda row: row.weight_bits, "{:.0f}".format),
    Column("activation_bits", lambda row: row.activation_bits, "{:.0f}".format),
    Column("weights", lambda row: row.weights, "{:.0%}".format),
    Column("arithmetic", lambda row: row.arithmetic, "{:.0%}".format),
    Column("disk", _spent(lambda row: row.spent.disk_bytes / 1e6), "{:.1f} MB".format, -1),  # type: ignore[union-attr]
    Column("peak", _spent(lambda row: row.spent.peak_bytes / 1e6), "{:.0f} MB".format, -1),  # type: ignore[union-attr]
    Column("seconds", _spent(lambda row: row.spent.median_seconds), "{:.2f} s".format, -1),  # type: ignore[union-attr]
    Column("spread", _spent(_spread), "±{:.2f} s".format),
    Column("error", lambda row: row.error, "{:.1e}".format, -1),
    Column("psnr", lambda row: row.psnr, decibels, 1),
    Column("ssim", lambda row: row.ssim, "{:.3f}".format, 1),
    Column("fd_world", lambda row: row.fd_world, "{:.1f}".format, -1),
)


def table(rows: Sequence[Measured], language: str) -> str:
    """One line for each row. A simulated one tells neither speed nor memory."""
    names = ("method", *(column.name for column in COLUMNS))
    heads = "".join(_head(index, name, language) for index, name in enumerate(names))
    best = {column.name: _best(column, rows) for column in COLUMNS if column.best}
    lines = "".join(_line(index, row, best, language) for index, row in enumerate(rows))
    body = f"<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="studio-table quant-table"><table>{body}</table></div>'


def _head(index: int, name: str, language: str) -> str:
    """A heading that sorts."""
    hint, title = (plain(t(f"quant.{kind}.{name}", language)) for kind in ("hint", "column"))
    button = f'<button type="button" data-column="{index}" title="{hint}">{title}</button>'
    return f'<th scope="col" aria-sort="none">{button}</th>'


def _best(column: Column, rows: Sequence[Measured]) -> float | None:
    """The value that is marked; none where there is nothing to compare, nor for full precision, which loses nothing."""
    values = [value for row in rows if row.method != "fp32" and (value := column.value(row)) is not None]
    return (max if column.best > 0 else min)(values) if len(values) > 1 else None


def _line(index: int, row: Measured, best: dict[str, float | None], language: str) -> str:
    name = method_name(row.method, language)
    cells = [f'<th scope="row" data-value="{plain(name)}">{plain(name)} {badge(row.simulated, language)}</th>']
    for column in COLUMNS:
        value = column.value(row)
        marked = value is not None and row.method != "fp32" and value == best.get(column.name)
        text = NONE if value is None else column.written(value)
        kind = ' class="quant-best"' if marked else ""
        sort = "" if value is None else f"{min(value, MOST_DECIBELS) if column.name == 'psnr' else value!r}"
        cells.append(f'<td data-value="{sort}"{kind}>{plain(text)}</td>')
    return f'<tr data-line="{index}">{"".join(cells)}</tr>'


def as_csv(rows: Sequence[Measured]) -> str:
    """The table with full numbers, under names that do not change with the language; empty where nothing is told."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("method", "kind", *(column.name for column in COLUMNS)))
    for row in rows:
        kind = "simulated" if row.simulated else "real"
        values = ("" if (value := column.value(row)) is None else f"{value:.6g}" for column in COLUMNS)
        writer.writerow((row.quant_id, kind, *values))
    return buffer.getvalue()


def as_json(rows: Sequence[Measured]) -> list[dict[str, object]]:
    """The same for a program; null where nothing is told."""
    return [
        {
            "quant_id": row.quant_id,
            "simulated": row.simulated,
            **{column.name: column.value(row) for column in COLUMNS},
        }
        for row in rows
    ]
