"""What experiments with LoRAs found, for a person to read: pictures by rank, losses by where a budget went, bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from studio.engine.lora_lab import RankPoint, ledgers
from studio.text import size, t
from studio.ui.figure import data_uri
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from studio.diffusion.lora_budget import Spent
    from studio.diffusion.lora_keys import Shape


def ranked(points: Sequence[RankPoint], language: str) -> str:
    """The pictures, each above its rank."""
    figures = (
        f'<figure><img alt="" src="{data_uri(one.picture)}"><figcaption>{plain(_rank(one.rank, language))}</figcaption>'
        "</figure>"
        for one in points
    )
    return f'<div class="studio-strip">{"".join(figures)}</div>'


def _rank(rank: int, language: str) -> str:
    return t("lora_cut.rank", language, rank=rank) if rank else t("lora_cut.whole", language)


def budgeted(found: Sequence[Spent], language: str) -> str:
    """What is left of the error, by where the same number of trained numbers went: the shorter the bar the better."""
    rows = "".join(
        f"<span>{plain(t('lora_budget.way', language, where=', '.join(one.where), rank=one.rank))}</span>"
        f'<div class="studio-bar"><b style="width:{100 * min(1.0, one.loss):.1f}%"></b></div>'
        f"<span>{one.loss:.0%}</span>"
        for one in found
    )
    told = t("lora_budget.told", language, count=found[0].parameters)
    return f'<p class="studio-note">{plain(told)}</p><div class="lora-bars">{rows}</div>'


def ledger_table(modules: Mapping[str, Shape], language: str) -> str:
    """Bytes of a training step of all of a UNet's weights, and of patches of several ranks. modules: its weights."""
    told = {
        _rank(rank, language) if rank else t("loras.ledger.full", language): one
        for rank, one in ledgers(modules).items()
    }
    heads = "".join(
        f"<th>{plain(t(f'loras.ledger.{name}', language))}</th>" for name in ("weights", "gradients", "adam")
    )
    rows = "".join(
        f"<tr><th>{plain(name)}</th><td>{size(one.weights)}</td><td>{size(one.gradients)}</td>"
        f"<td>{size(one.adam)}</td></tr>"
        for name, one in told.items()
    )
    return (
        f"<h4>{plain(t('loras.ledger', language))}</h4>"
        f'<p class="studio-note">{plain(t("loras.ledger_info", language))}</p>'
        f'<table class="lora-ledger"><tr><th></th>{heads}</tr>{rows}</table>'
    )
