"""What a LoRA's file is, for a person to read: numbers and bars as HTML. A stranger's words stand in it as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from studio.engine.lora_truth import Truth
from studio.text import size, t
from studio.ui.curve import Axis
from studio.ui.figure import Bars, even_ticks, figure
from studio.ui.widgets import plain

LAYOUT_NAMES = {"diffusers": "diffusers (peft)", "kohya": "kohya (sd-scripts)"}
MAX_LISTED = 4
"""So many different ranks or alphas are told one by one."""


def truth_panel(truth: Truth, language: str) -> str:
    """Everything that is known of a file that has passed the gate."""
    numbers = {
        "layout": LAYOUT_NAMES[truth.layout],
        "family": truth.family,
        "rank": _several(truth.ranks),
        "alpha": _several(truth.alphas),
        "size": size(truth.bytes),
    }
    pairs = "".join(
        f"<div><dt>{plain(t(f'loras.{name}', language))}</dt><dd>{plain(value)}</dd></div>"
        for name, value in numbers.items()
    )
    return (
        f'<dl class="studio-numbers">{pairs}</dl>{_evidence(truth, language)}{_parts(truth, language)}'
        f"<h4>{plain(t('loras.norms', language))}</h4>"
        f'<p class="studio-note">{plain(t("loras.norms_info", language))}</p>{norm_bars(truth.norms, language)}'
        f"{_claims(truth, language)}{_hashes(truth, language)}"
    )


def _several(values: Sequence[float]) -> str:
    """One value, a few, or from which to which."""
    if len(values) > MAX_LISTED:
        return f"{values[0]:g} – {values[-1]:g}"
    return ", ".join(f"{value:g}" for value in values)


def _evidence(truth: Truth, language: str) -> str:
    reasons = "".join(f"<li>{plain(t(f'loras.evidence.{key}', language, **told))}</li>" for key, told in truth.evidence)
    return f'<ul class="lora-evidence">{reasons}</ul>'


def _parts(truth: Truth, language: str) -> str:
    """For each part how many of the file's tensors fit, and how many of its weights they change."""
    rows = "".join(
        f"<dt>{plain(t(f'loras.part.{one.part}', language))}</dt>"
        f"<dd>{plain(t('loras.matched', language, tensors=one.tensors, changed=one.changed, weights=one.weights))}</dd>"
        for one in truth.parts
    )
    return f'<dl class="studio-facts">{rows}</dl>'


def norm_bars(norms: Mapping[str, float], language: str) -> str:
    """A bar for each block, as long as its change is large; the largest fills the width."""
    top = max(norms.values(), default=0.0) or 1.0
    rows = "".join(
        f"<span>{plain(block_name(block, language))}</span>"
        f'<div class="studio-bar"><b style="width:{100 * value / top:.1f}%"></b></div><span>{value:.1%}</span>'
        for block, value in norms.items()
    )
    return f'<div class="lora-bars" role="img" aria-label="{plain(t("loras.norms", language))}">{rows}</div>'


def block_name(block: str, language: str) -> str:
    """A block as a person calls it: "Down 1", "Text 3"."""
    stem, _, number = block.rpartition(".")
    kind = next((kind for kind in ("down", "mid", "up") if block.startswith(kind)), "text")
    return t(f"loras.block.{kind}", language, number=int(number) + 1 if stem and number.isdigit() else "").strip()


def _claims(truth: Truth, language: str) -> str:
    """What its writer says, as such."""
    told = dict(truth.claims)
    if truth.triggers:
        told = {"triggers": ", ".join(truth.triggers), **told}
    if not told:
        return f'<p class="studio-note">{plain(t("loras.no_claims", language))}</p>'
    rows = "".join(
        f"<dt>{plain(t(f'loras.claim.{name}', language))}</dt><dd>{plain(text)}</dd>" for name, text in told.items()
    )
    return f'<h4>{plain(t("loras.claims", language))}</h4><dl class="studio-facts">{rows}</dl>'


def _hashes(truth: Truth, language: str) -> str:
    hashes = truth.hashes
    rows = {"SHA-256": hashes.sha256, "AutoV2": hashes.autov2, "AutoV3": hashes.autov3}
    listed = "".join(f"<dt>{name}</dt><dd><code>{plain(value)}</code></dd>" for name, value in rows.items())
    return f'<h4>{plain(t("loras.hashes", language))}</h4><dl class="studio-facts lora-hashes">{listed}</dl>'


def spectrum_plot(values: Sequence[float], rank: int, language: str) -> str:
    """The singular values of one layer's change as bars; those beyond `rank` in another colour."""
    if not values:
        return ""
    count, top = len(values), max(values) or 1.0
    kept = min(rank, count) if rank else count
    x = Axis(
        t("loras.direction", language), 0, count, [(i + 0.5, str(i + 1)) for i in range(0, count, -(-count // 16))]
    )
    y = Axis(t("loras.singular_value", language), 0, top, even_ticks(0, top))
    parts = [Bars(values[:kept], 0, kept, 0, t("loras.kept", language))]
    if kept < count:
        parts.append(Bars(values[kept:], kept, count, 3, t("loras.dropped", language)))
    share = sum(value**2 for value in values[:kept]) / (sum(value**2 for value in values) or 1.0)
    told = t("loras.energy", language, rank=kept, share=f"{share:.1%}")
    return f'{figure(x, y, t("loras.spectrum", language), parts)}<p class="studio-note">{plain(told)}</p>'
