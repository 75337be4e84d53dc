"""A comparison as one piece of the page: pictures, table, figures, a look inside, and what can be kept."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Sequence

from PIL import Image

from studio.engine.blind import Pair
from studio.engine.comparison import Measured
from studio.engine.comparison_inside import Inside
from studio.settings import ROOT
from studio.text import t
from studio.ui import quant_plots as plots
from studio.ui.figure import data_uri
from studio.ui.quant_pictures import card_of, compared_pairs, enlarged, picture_row, png
from studio.ui.quant_table import as_csv, table
from studio.ui.widgets import plain

SCRIPT = (ROOT / "assets" / "quant.js").read_text(encoding="utf-8")
BLIND_SCRIPT = (ROOT / "assets" / "blind.js").read_text(encoding="utf-8")
NAME = "quantized"
"""Of the files that are kept."""


def view(reference: Image.Image, rows: tuple[Measured, ...], inside: Inside, title: str, language: str) -> str:
    """Everything that is known after some rows."""
    pairs, pareto = compared_pairs(reference, rows, language), plain(t("quant.pareto", language))
    parts = (
        picture_row(reference, rows, language),
        f'<div class="quant-look">{pairs}<div><h4>{pareto}</h4>{plots.pareto(rows, language)}</div></div>',
        table(rows, language),
        _note("quant.table_note", language),
        _kept(reference, rows, title, language),
        _inside(rows, inside, language),
    )
    return f'<div class="quant">{"".join(parts)}</div>'


def _note(key: str, language: str) -> str:
    return f'<p class="studio-note">{plain(t(key, language))}</p>'


def _kept(reference: Image.Image, rows: tuple[Measured, ...], title: str, language: str) -> str:
    """The table and the pictures as files: they are inside the page, nothing is asked for."""
    files = (
        ("quant.keep_csv", "text/csv", as_csv(rows).encode(), "csv"),
        ("quant.keep_card", "image/png", png(card_of(reference, rows, title)), "png"),
    )
    links = "".join(_link(f"{NAME}.{ending}", kind, data, t(key, language)) for key, kind, data, ending in files)
    return f'<p class="quant-keep">{links}</p>'


def _link(name: str, kind: str, data: bytes, title: str) -> str:
    """A file inside the page."""
    return f'<a download="{name}" href="data:{kind};base64,{b64encode(data).decode()}">{plain(title)}</a>'


def _inside(rows: tuple[Measured, ...], inside: Inside, language: str) -> str:
    """Ranges over t, the error over t, and for the row that is looked at its layers, steps and number line."""
    error = plots.by_time(rows, language)
    by_time = f"<h4>{plain(t('quant.by_time', language))}</h4>{error}" if error else ""
    own = "".join(_layers(index, row, inside, language) for index, row in enumerate(rows))
    figures = (plots.ranges(inside, language), plots.violins(inside, language), by_time)
    told = "".join(f"<div>{one}</div>" for one in figures if one)
    body = f'<div class="quant-two">{told}</div>{own}'
    title = plain(t("quant.inside", language))
    return f'<details class="studio-lights quant-inside"><summary>{title}</summary>{body}</details>'


def _layers(index: int, row: Measured, inside: Inside, language: str) -> str:
    """Inside one row."""
    name = plain(t("quant.inside_of", language, name=plots.named(row, language)))
    if row.layers is None:
        body = _note("quant.no_layers", language)
    elif row.error == 0:
        body = _note("quant.no_error", language)
    else:
        draw = (plots.steps, plots.number_line)
        figures = (plots.layer_errors(row.layers, language), *(one(row, inside, language) for one in draw))
        body = f'<div class="quant-two">{"".join(f"<div>{one}</div>" for one in figures if one)}</div>'
    hidden = "" if index == 0 else " hidden"
    return f'<section data-layers="{index}"{hidden}><h3>{name}</h3>{body}</section>'


def blind(pairs: Sequence[Pair], name: str, language: str, seed: int) -> str:
    """Ten rounds, the sides thrown by a seed, one after another."""
    sides = random.Random(seed)
    rounds = "".join(_round(index, pair, sides.randrange(2), language) for index, pair in enumerate(pairs))
    score = plain(t("quant.blind_score", language, right="{right}", asked="{asked}"))
    first = score.replace("{right}", "0").replace("{asked}", "0")
    ends = "".join(
        f'<p class="blind-{end}" hidden>{plain(t(f"quant.blind_{end}", language, name=name))}</p>'
        for end in ("seen", "unseen")
    )
    return (
        f'<div class="blind" data-score="{score}"><p class="blind-score" role="status">{first}</p>{rounds}{ends}</div>'
    )


def _round(index: int, pair: Pair, quantized: int, language: str) -> str:
    pictures = (pair.quantized, pair.full) if quantized == 0 else (pair.full, pair.quantized)
    buttons = "".join(
        f'<button type="button" data-side="{side}"><img alt="{plain(t("quant.blind_side", language, side=letter))}"'
        f' src="{data_uri(enlarged(picture), "PNG")}"><span>{letter}</span></button>'
        for side, (letter, picture) in enumerate(zip("AB", pictures, strict=True))
    )
    told = "".join(
        f'<span class="blind-{end}" hidden>{plain(t(f"quant.blind_{end}", language))}</span>'
        for end in ("right", "wrong")
    )
    hidden = "" if index == 0 else " hidden"
    following = f'<button type="button" class="blind-next" hidden>{plain(t("quant.blind_next", language))}</button>'
    title = plain(t("quant.blind_round", language, number=index + 1))
    return (
        f'<div class="blind-round" data-quantized="{quantized}"{hidden}><h4>{title}</h4>'
        f'<div class="blind-pair">{buttons}</div><p>{told}{following}</p></div>'
    )
