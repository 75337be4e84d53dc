"""Every token knows its word, in both languages and with both kinds of tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from studio.engine.words import placed_words
from tests.tiny import TOKENS, make_tokenizer


@pytest.fixture(scope="module")
def clip() -> Any:
    """A CLIPTokenizer with the marks of word ends and one merge: `re` + `d</w>`."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [","]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "re", "red</w>", "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[("r", "e"), ("re", "d</w>")], model_max_length=12)


@pytest.fixture(scope="module")
def letters() -> Any:
    """Every byte is a token."""
    return make_tokenizer()


def told(tokenizer: Any, prompt: str) -> dict[str, list[int]]:
    """Word@start -> positions of its tokens."""
    words, columns = placed_words(tokenizer, prompt)
    assert all(prompt[word.start : word.end] == word.text for word in words)
    return {
        f"{word.text}@{word.start}": [position for position, column in columns.items() if column == index]
        for index, word in enumerate(words)
    }


def test_a_word_owns_all_tokens_it_was_split_into(clip: Any):
    assert told(clip, "a Red  bus") == {"a@0": [1], "Red@2": [2], "bus@7": [3, 4, 5]}


def test_punctuation_is_no_word(clip: Any):
    assert told(clip, "red, red") == {"red@0": [1], "red@5": [3]}


def test_what_is_behind_the_tokenizers_limit_is_left_out(clip: Any):
    assert told(clip, "abcdefgh red bus") == {"abcdefgh@0": list(range(1, 9)), "red@9": [9], "bus@13": [10]}


def test_a_chinese_character_is_a_word_of_the_bytes_it_was_split_into(letters: Any):
    assert told(letters, "红伞,a") == {"红@0": [1, 2, 3], "伞@1": [4, 5, 6], "a@3": [8]}


def test_languages_may_touch(letters: Any):
    assert list(told(letters, "t恤red球")) == ["t@0", "恤@1", "red@2", "球@5"]


@pytest.mark.parametrize("word", ["high-rise", "child's", "café", "x2"])
def test_a_word_may_hold_hyphens_apostrophes_accents_and_digits(letters: Any, word: str):
    assert list(told(letters, f"one {word}!")) == ["one@0", f"{word}@4"]


@pytest.mark.parametrize("prompt", ["", "   ", "...", "🎨"])
def test_a_prompt_without_words_has_none(letters: Any, prompt: str):
    assert told(letters, prompt) == {}


def test_a_long_prompt_has_as_many_words_as_the_encoder_reads(letters: Any):
    words, columns = placed_words(letters, "ab " * 500)
    assert max(columns) == TOKENS - 2
    assert len(words) == 21
