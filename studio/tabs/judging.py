"""What pictures took over from the references that they were drawn after, as a page tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.engine.scales import Measures
from studio.events import GenerationResult
from studio.text import t
from studio.types import GenerationRequest
from studio.ui.references import WEIGHTS
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.build import Eye, Studio
    from studio.perception.referring import Judged, Reference


@dataclass(frozen=True)
class Measured:
    """What is measured of pictures after a request's references; they are looked at once."""

    eye: Eye
    reference: Reference

    @classmethod
    def of(cls, eye: Eye, request: GenerationRequest) -> Measured:
        from studio.perception.referring import Reference

        (use,) = request.controls
        weights = [use.options[name] for name in WEIGHTS if name in use.options]
        return cls(eye, Reference.of(eye, request.prompt, use.images[: len(weights)], weights))

    def judged(self, picture: Image) -> Judged:
        return self.reference.judged(self.eye, picture)


def measure_of(eye: Eye | None, request: GenerationRequest) -> Measures:
    """The three measures of a picture by name; nothing without an eye."""
    measured: list[Measured] = []

    def measure(picture: Image) -> Mapping[str, float | None]:
        if eye is None:
            return {}
        if not measured:  # not before the job runs: the eye takes a while to open
            measured.append(Measured.of(eye, request))
        return measured[0].judged(picture).shares

    return measure


def verdict(studio: Studio, result: GenerationResult, bare: Image | None, language: str) -> str:
    """What the first picture took over from the references; beside it the same of the one without them, if any."""
    eye = studio.eye
    if eye is None:
        return f'<p class="studio-note">{plain(t("text2img.no_eye", language))}</p>'
    measured = Measured.of(eye, result.request)
    told = verdict_of(measured.reference, measured.judged(result.images[0]), language)
    if bare is None:
        return told
    without = measured.judged(bare)
    values = {"style": f"{without.style:.0%}", "held": without.held, "asked": without.asked}
    return f'{told}<p class="studio-note">{plain(t("verdict.without", language, **values))}</p>'


def verdict_of(reference: Reference, judged: Judged, language: str) -> str:
    """Style, prompt and leak as tags, by sign as well as by colour."""
    from studio.perception.referring import name_of, style_name

    style = style_name(reference.style, language)
    told = [_tag(t("verdict.style", language, style=style, confidence=f"{judged.style:.0%}"), judged.has_style)]
    if judged.asked:
        kept = t("verdict.prompt", language, held=judged.held, asked=judged.asked)
        told.append(_tag(kept, judged.held == judged.asked))
    if judged.could_leak:
        names = ", ".join(name_of(one, language) for one in judged.leaked)
        sentence = t("verdict.leak", language, names=names) if names else t("verdict.no_leak", language)
        told.append(_tag(sentence, not names))
    note = plain(t("verdict.note", language))
    return f'<div class="studio-tags studio-verdict">{"".join(told)}</div><p class="studio-note">{note}</p>'


def _tag(text: str, holds: bool) -> str:
    kind, sign = ("holds", "✓") if holds else ("fails", "✗")
    return f'<span class="studio-tag studio-tag-{kind}">{plain(text)} {sign}</span>'
