"""Every sentence that a person reads, by key and language. Free of gradio; `ui/text.py` builds gr.I18n from it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")
FOLDER = Path(__file__).resolve().parent.parent / "assets" / "i18n"


@cache
def table(language: str) -> dict[str, str]:
    """All sentences of one language: a flat mapping from dotted key to text with {named} places."""
    loaded: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return loaded


def size(number_bytes: int) -> str:
    """1,234,000 bytes as "1.2 MB", the same in every language."""
    return f"{number_bytes / 1e9:.1f} GB" if number_bytes >= 1e9 else f"{number_bytes / 1e6:.1f} MB"


def t(key: str, language: str = "en", **values: object) -> str:
    """The sentence of `key`, its places filled. An unknown language reads English; an unknown key raises KeyError."""
    return table(language if language in LANGUAGES else "en")[key].format(**values)
