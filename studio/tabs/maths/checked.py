"""Lights and errata: every check, run on what is on the page, and every error of the articles beside what is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import StudioError
from studio.tabs.maths.page import LATEX, asked
from studio.text import t as text
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import card, plain

if TYPE_CHECKING:
    from studio.checks import Check, Erratum, Light

CHECKED_SIDE = 64


@dataclass(frozen=True)
class LightsSection:
    """The button, and a light for each formula."""

    button: gr.Button
    summary: gr.HTML
    found: gr.Markdown

    def connect(self, values: list[Any], opened: gr.Tab) -> None:
        """Wire it to the forward section's widgets; it runs when its tab is opened."""
        for event in (self.button.click, opened.select):
            event(
                self.run,
                values,
                [self.summary, self.found],
                preprocess=False,
                trigger_mode="always_last",
                show_progress="hidden",
                api_visibility="private",
            )

    def run(self, request: gr.Request, *values: object) -> Iterator[tuple[str, Any]]:
        """Run every check that can be asked of this schedule, group by group."""
        from studio.checks import CHECKS, subject

        language = language_of(request)
        try:
            wish = asked(*values)
        except StudioError as error:
            yield f'<p class="studio-note" role="status">{plain(describe(error, language))}</p>', gr.skip()
            return
        on = subject(wish.x0(CHECKED_SIDE), wish.schedule, wish.t, seed=wish.seed)
        possible = [check for check in CHECKS if check.applies(on)]
        lines, green, done = list[str](), 0, 0
        for group, checks in groupby(possible, key=lambda check: check.group):
            lines.append(f"\n#### {text(f'maths.group.{group}', language)}\n")
            for check in checks:
                light = check.run(on)
                green, done = green + light.holds, done + 1
                lines.append(light_line(check, light, language))
            yield summary(green, done, len(possible), len(CHECKS), language), "\n".join(lines)


def draw_lights() -> LightsSection:
    """The widgets."""
    with card("maths.card.lights", "maths"):
        gr.HTML(label("maths.lights_hint"), elem_classes="studio-note")
        button = gr.Button(label("light.run"), size="sm", elem_id="maths-check")
        summary = gr.HTML(elem_id="maths-summary")
        found = gr.Markdown(elem_id="maths-lights", elem_classes="maths-list", latex_delimiters=LATEX)
    return LightsSection(button, summary, found)


def summary(green: int, done: int, possible: int, every: int, language: str) -> str:
    """How many lights are green, by sign as well as by colour."""
    kind, sign = ("holds", "✓") if green == done else ("fails", "✗")
    told = text("maths.green", language, green=green, done=done, left=every - possible)
    return f'<p role="status"><span class="studio-tag studio-tag-{kind}">{sign}</span> {plain(told)}</p>'


def light_line(check: Check, light: Light, language: str) -> str:
    """One check: whether it holds, what it says, its formula, its number against its tolerance, and its source."""
    kind, sign = ("holds", "✓") if light.holds else ("fails", "✗")
    title = text(f"check.{check.id}", language)
    number = text("maths.light", language, value=f"{light.value:.2g}", tolerance=f"{light.tolerance:.2g}")
    tag = f'<span class="studio-tag studio-tag-{kind}">{sign}</span>'
    return f"- {tag} **{title}** ${check.formula}$ {number}. *{check.source}*"


@dataclass(frozen=True)
class ErrataSection:
    """The cards."""

    found: gr.HTML

    def connect(self, opened: gr.Tab) -> None:
        """Wire it: both numbers of every card are computed when its tab is opened."""
        opened.select(self.show, None, self.found, show_progress="hidden", api_visibility="private")

    def show(self, request: gr.Request) -> Iterator[str]:
        """All cards, growing."""
        from studio.checks import ERRATA

        language, cards = language_of(request), ""
        for number, erratum in enumerate(ERRATA, start=1):
            cards += erratum_card(erratum, language)
            if number % 4 == 0 or number == len(ERRATA):
                yield f'<div class="maths-cards">{cards}</div>'


def draw_errata() -> ErrataSection:
    """The place of the cards, and what they are."""
    with card("maths.card.errata", "maths"):
        gr.HTML(label("maths.errata_hint"), elem_classes="studio-note")
        found = gr.HTML(elem_id="maths-errata")
    return ErrataSection(found)


def erratum_card(erratum: Erratum, language: str) -> str:
    """What is said, what is right, and both in numbers that were computed just now."""
    said, right = erratum.show()
    articles = "; ".join(text(f"errata.article.{article}", language) for article in erratum.articles)
    wrong = "" if said is None else f'<span class="studio-tag studio-tag-fails">{short(said)}</span> → '
    pair = f'{wrong}<span class="studio-tag studio-tag-holds">{short(right)}</span>'
    return (
        f'<article class="maths-erratum"><h4>{plain(erratum.id)} <small>{plain(articles)}</small></h4>'
        f'<p class="maths-said">{plain(text(erratum.text("said"), language))}</p>'
        f"<p>{plain(text(erratum.text('right'), language))}</p>"
        f'<p class="studio-note">{plain(text(erratum.text("shown"), language))}: {pair}</p>'
        f'<p class="studio-note">{plain(erratum.source)} · <code>{plain(erratum.test)}</code></p></article>'
    )


def short(number: float) -> str:
    """Four digits, and large numbers whole."""
    return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:.4g}"
