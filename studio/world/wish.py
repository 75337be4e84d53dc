"""What a prompt asks for, as far as the world can show it; and the parser that reads it from a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from studio.world import lexicon


@dataclass(frozen=True)
class WishedThing:
    """A thing that was asked for. colour: None when the text leaves it open."""

    kind: str
    colour: str | None


@dataclass(frozen=True)
class Wish:
    """The attributes that a text names; None and empty where it is silent. Things in the order of mention."""

    things: tuple[WishedThing, ...] = ()
    person: bool = False
    background: str | None = None
    style: str | None = None
    shirt: str | None = None
    pants: str | None = None
    hair: str | None = None
    pose: str | None = None


@cache
def _names() -> dict[str, tuple[str, str]]:
    """Every name in lower case, to (role, value)."""
    found: dict[str, tuple[str, str]] = {}
    for language in lexicon.LANGUAGES:
        tables = {
            "kind": lexicon.KIND_NAMES,
            "colour": lexicon.COLOUR_NAMES,
            "background": lexicon.BACKGROUND_NAMES,
            "style": lexicon.STYLE_NAMES,
            "hair": lexicon.HAIR_NAMES,
            "pose": lexicon.POSE_NAMES,
            "character": lexicon.CHARACTER_NAMES,
        }
        for role, table in tables.items():
            found |= {name: (role, value) for value, names in table[language].items() for name in names}
        for role, words in (
            ("person", lexicon.PERSON_NAMES),
            ("shirt", lexicon.SHIRT_NAMES),
            ("pants", lexicon.PANTS_NAMES),
        ):
            found |= dict.fromkeys(words[language], (role, role))
    return found


def phrases() -> frozenset[str]:
    """Every Chinese name of more than one character."""
    return frozenset(name for name in _names() if not name.isascii() and len(name) > 1)


@cache
def _pattern() -> re.Pattern[str]:
    """All names, longest first; Latin names as whole words with an optional plural."""
    names = sorted(_names(), key=len, reverse=True)
    latin = "|".join(re.escape(name) for name in names if name.isascii())
    han = "|".join(re.escape(name) for name in names if not name.isascii())
    return re.compile(rf"(?<![a-z])({latin})(?:s|es)?(?![a-z])|({han})")


def _mentions(text: str) -> Iterator[tuple[str, str]]:
    for match in _pattern().finditer(text.lower()):
        yield _names()[match[1] or match[2]]


def parse(text: str) -> Wish:
    """Read a text in English or Chinese. A colour belongs to the thing or garment that follows it.

    Linear in the length of the text. Words that the world does not know are passed over.
    """
    things: list[WishedThing] = []
    said: dict[str, str] = {}
    person, colour = False, None
    for role, value in _mentions(text):
        if role == "colour":
            colour = value
            continue
        if role == "kind":
            things.append(WishedThing(value, colour))
        elif role in ("person", "character"):
            person = True
        elif role in ("shirt", "pants"):
            person = True
            if colour:
                said.setdefault(role, colour)
        else:
            said.setdefault(role, value)
        colour = None
    return Wish(tuple(things), person, **said)
