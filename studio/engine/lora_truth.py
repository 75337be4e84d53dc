"""The truth about a LoRA's file that has passed the gate: what it is, what it changes and by how much, as data.

What its writer claims is shown as text without effect, and never believed: layout, family and ranks are read off the
tensors.
"""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio.diffusion.lora_keys import block_of
from studio.diffusion.lora_origins import text_width
from studio.engine.lora_base import BaseWeights
from studio.engine.lora_file import Hashes, LoraFile, hashes_of, listed
from studio.engine.lora_gate import FAMILY_NAMES, Passed
from studio.engine.lora_usage import Usage, usage_of

CLAIMS: Mapping[str, tuple[str, ...]] = {
    "title": ("modelspec.title", "ss_output_name"),
    "base": ("base", "ss_base_model_version", "ss_sd_model_name", "modelspec.architecture"),
    "resolution": ("resolution", "ss_resolution", "modelspec.resolution"),
    "steps": ("steps", "ss_steps"),
    "author": ("modelspec.author",),
    "license": ("license", "modelspec.license"),
    "comment": ("ss_training_comment", "modelspec.description"),
}
"""What may be shown -> under which names writers put it: ours, kohya's, the modelspec's."""
TRIGGERS = ("trigger", "modelspec.trigger_phrase")
TAG_FREQUENCY = "ss_tag_frequency"
MAX_TEXT, MAX_TRIGGERS = 200, 6
EVERY = 0.9
"""A word in this share of the most frequent one's captions is taken for a trigger."""


@dataclass(frozen=True)
class PartTruth:
    """One part of the model. tensors: of the file, all of which fit; changed: weights, of so many that could be."""

    part: str
    tensors: int
    changed: int
    weights: int


@dataclass(frozen=True)
class Truth:
    """family: of the base; evidence: keys of assets/i18n below `lora.evidence.`, with what they name; norms: block ->
    the Frobenius norm of its change against that of its weights; claims, triggers: the writer's words, cleaned; usage:
    the settings that its writer asks for, where there are any."""

    layout: str
    family: str
    evidence: tuple[tuple[str, Mapping[str, Any]], ...]
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    parts: tuple[PartTruth, ...]
    norms: Mapping[str, float]
    claims: Mapping[str, str]
    triggers: tuple[str, ...]
    hashes: Hashes
    bytes: int
    usage: Usage | None = None


def truth_of(passed: Passed) -> Truth:
    """Look a file through. Reads all of it, and all weights of its base once. Needs torch."""
    file, base = passed.file, passed.base
    return Truth(
        layout=passed.layout,
        family=FAMILY_NAMES.get(base.spec.family, base.spec.family),
        evidence=_evidence(file, base),
        ranks=tuple(sorted({passed.rank(pair) for pair in passed.pairs})),
        alphas=tuple(
            sorted({round(s * passed.rank(p), 4) for p, s in zip(passed.pairs, passed.scalings, strict=True)})
        ),
        parts=_parts(passed),
        norms=relative_norms(passed),
        claims=_claims(file.metadata),
        triggers=triggers_of(file.metadata),
        hashes=hashes_of(file.path),
        bytes=file.path.stat().st_size,
        usage=usage_of(file.metadata),
    )


def _evidence(file: LoraFile, base: BaseWeights) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Why it is held to be of its family, the strongest reason first."""
    found: list[tuple[str, Mapping[str, Any]]] = [("shapes", {"count": len(file.shapes), "base": base.spec.name})]
    if (width := text_width(file.shapes)) is not None:
        found.append(("text_width", {"width": width}))
    if claimed := _claims(file.metadata).get("base"):
        found.append(("claim", {"claim": claimed}))
    return tuple(found)


def _parts(passed: Passed) -> tuple[PartTruth, ...]:
    tensors: dict[str, int] = defaultdict(int)
    changed: dict[str, int] = defaultdict(int)
    for pair in passed.pairs:
        tensors[pair.part] += 2 + bool(pair.alpha)
        changed[pair.part] += 1
    return tuple(
        PartTruth(part, tensors[part], changed[part], len(weights)) for part, weights in passed.base.modules.items()
    )


def relative_norms(passed: Passed) -> dict[str, float]:
    """||Delta W|| / ||W|| of each block, over the weights that the file changes; in the order of the latents' way."""
    from studio.diffusion.lora import factor_spectrum

    squares: dict[tuple[str, str], float] = {}
    for pair, scale, down, up in passed.tensors():
        values = factor_spectrum(down.flatten(1).float(), up.flatten(1).float())
        squares[pair.part, pair.module] = float(values.square().sum()) * scale**2
    changes: dict[str, float] = defaultdict(float)
    weights: dict[str, float] = defaultdict(float)
    for part, module, weight in passed.base.tensors():
        if (part, module) in squares:
            block = block_of(part, module)
            changes[block] += squares[part, module]
            weights[block] += float(weight.float().square().sum())
    ratios = {block: math.sqrt(changes[block] / weights[block]) if weights[block] else 0.0 for block in changes}
    return {block: ratios[block] for block in sorted(ratios, key=_place)}


def _place(block: str) -> tuple[int, str]:
    """Text encoders, then the way of the latents through the UNet."""
    order = ("text_encoder", "down_blocks", "mid_block", "up_blocks")
    return next((place for place, start in enumerate(order) if block.startswith(start)), len(order)), block


def spectra(passed: Passed) -> dict[str, tuple[float, ...]]:
    """Module by name ("unet.mid_block...") -> the singular values of its change, falling."""
    from studio.diffusion.lora import factor_spectrum

    return {
        f"{pair.part}.{pair.module}": tuple(
            (abs(scale) * factor_spectrum(down.flatten(1).float(), up.flatten(1).float())).tolist()
        )
        for pair, scale, down, up in passed.tensors()
    }


def triggers_of(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The words that call it, as its writer tells: named outright, or in nearly every caption that it learnt from."""
    named = [word for name in TRIGGERS for word in metadata.get(name, "").split(",")]
    if not any(named):
        named = _frequent(listed(metadata, TAG_FREQUENCY))
    return tuple(dict.fromkeys(filter(None, map(inert, named))))[:MAX_TRIGGERS]


def _frequent(folders: Any) -> list[str]:
    """The words in nearly as many captions as the most frequent one. folders: folder -> word -> how often, by kohya."""
    counts: dict[str, int] = defaultdict(int)
    for words in folders.values() if isinstance(folders, dict) else ():
        for word, count in words.items() if isinstance(words, dict) else ():
            counts[word] += count if type(count) is int else 0
    most = max(counts.values(), default=0)
    return [word for word, count in counts.items() if most and count >= EVERY * most]


def _claims(metadata: Mapping[str, str]) -> dict[str, str]:
    found = {name: next((metadata[key] for key in keys if metadata.get(key)), "") for name, keys in CLAIMS.items()}
    return {name: inert(text) for name, text in found.items() if inert(text)}


def inert(text: str) -> str:
    """A stranger's text without control characters or direction marks, on one line, cut."""
    kept = "".join(sign if unicodedata.category(sign)[0] not in "CZ" else " " for sign in text[: 4 * MAX_TEXT])
    return " ".join(kept.split())[:MAX_TEXT]
