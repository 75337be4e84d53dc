"""Which tokens of a prompt belong to which of its words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
WORD = re.compile(rf"[{HAN}]|(?:(?![{HAN}])[^\W_])+(?:['’-](?:(?![{HAN}])[^\W_])+)*")
"""A Chinese character, or a run of letters and digits, hyphens and apostrophes within it."""


@dataclass(frozen=True)
class Word:
    """A word of a prompt, and where it stands there: prompt[start:end]."""

    text: str
    start: int
    end: int


def placed_words(tokenizer: Any, prompt: str) -> tuple[tuple[Word, ...], dict[int, int]]:
    """The words of a prompt that the text encoder reads, and position of token -> index of its word.

    The tokenizer says which characters each token came from. Tokens of no word (the marks at start and end,
    punctuation, padding) have no entry; words behind the tokenizer's limit are left out.
    """
    encoded = tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length, return_offsets_mapping=True)
    found = [Word(match[0], *match.span()) for match in WORD.finditer(prompt)]
    owner = {place: index for index, word in enumerate(found) for place in range(word.start, word.end)}
    columns: dict[int, int] = {}
    for position, (start, end) in enumerate(encoded["offset_mapping"]):
        owners = [owner[place] for place in range(start, end) if place in owner]
        if owners:
            columns[position] = owners[0]
    read = sorted(set(columns.values()))
    return tuple(found[index] for index in read), {position: read.index(index) for position, index in columns.items()}
