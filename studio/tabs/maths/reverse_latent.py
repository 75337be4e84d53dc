"""The walk back where a latent model works: what is asked for, and how a walk of either family looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.errors import InvalidInput
from studio.events import Done, Event, Step
from studio.tabs.maths.page import note, shown, strip
from studio.text import t as text
from studio.types import GenerationRequest, ModelSpec

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.engine.latent_walking import Decoded, LatentWalking

ROWS = ("xt", "eps", "x0")


def latent_work(
    specs: Mapping[str, ModelSpec], prompts: tuple[Any, Any], values: tuple[Any, ...], fork: tuple[Any, ...] | None
) -> LatentWalking:
    """A walk by the first model that draws from text, at the size that it was trained on. prompts: of the walk and of
    its fork; values, fork: as the page's knobs. Raises InvalidInput that names the field."""
    from studio.engine.latent_walking import Fork, LatentWalking
    from studio.engine.walking import Walk

    walk = Walk(*values)
    walk = replace(walk, kind=str(prompts[0]))
    if not specs:
        raise InvalidInput("not_a_choice", field="base_id", value="", choices="")
    base_id, spec = next(iter(specs.items()))
    side = spec.native_size
    request = GenerationRequest(base_id, prompts[0], walk.seed, width=side, height=side)
    parts = None if fork is None else Fork(fork[0], prompts[1], fork[2], fork[3])
    return LatentWalking(request, walk, parts)


def shown_walk(event: Event, language: str) -> str:
    """How far it is, and what it came to; nothing for other events."""
    match event:
        case Done(result=walks):
            first, *others = [decoded(walk, language) for walk in walks]
            parted = note(text("maths.forked_latent", language)) if others else ""
            return first + parted + "".join(others)
        case Step(index=index, total=total):
            return note(text("light.step", language, index=index, total=total))
        case _:
            return ""


def decoded(walk: Decoded, language: str) -> str:
    """A walk in latents, its latents decoded."""
    return walk_html((walk.xt, walk.eps, walk.x0), walk.times, walk.finished, language)


def walk_html(
    rows: Sequence[Sequence[Image]], times: Sequence[int], finished: Image, language: str, pixelated: bool = False
) -> str:
    """x_t, the guessed noise and the guessed picture at some of the steps, and where they led."""
    named = [(text(f"maths.row.{name}", language), row) for name, row in zip(ROWS, rows, strict=True)]
    end = shown(finished, text("maths.finished", language), pixelated=pixelated)
    table = strip(named, [f"t = {t}" for t in times], pixelated=pixelated)
    return f'<div class="maths-walk">{table}<div class="maths-finished">{end}</div></div>'
