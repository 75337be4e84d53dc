from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from studio.train.tokenizer import END, MAX_TOKENS, START, VOCABULARY, build_tokenizer, encode, load_tokenizer

CAPTIONS = 300
ENGLISH = "a red umbrella and a blue car on the beach, watercolour"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As the pipelines see it: written and read again."""
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(CAPTIONS).save_pretrained(folder)
    return load_tokenizer(folder)


@settings(deadline=None)
@given(st.text(max_size=80))
@example("")
@example("<|endoftext|>")
@example("a cat <|endoftext|> a dog <|startoftext|>")
@example("<|EndOfText|>")
@example("a 🐱‍👤 and a 👩🏽‍🚀")
@example("nul \0 byte")
@example("红伞,ﬁne ½ Straße İ")
def test_any_text_comes_back_without_an_inner_end(tokenizer: Any, text: str):
    ids = tokenizer(text)["input_ids"]
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    assert (ids[0], ids[-1]) == (start, end)
    assert start not in ids[1:-1] and end not in ids[1:-1]
    normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    assert tokenizer.decode(ids[1:-1]).replace(" ", "") == normal.replace(" ", "")


def test_a_chinese_run_is_split_per_character(tokenizer: Any):
    pieces = [tokenizer.decode([i]).strip() for i in tokenizer("沙滩上的红伞")["input_ids"][1:-1]]
    assert pieces == list("沙滩上的红伞")


def test_common_words_are_one_token(tokenizer: Any):
    assert len(tokenizer("a red umbrella on the beach")["input_ids"]) == 6 + 2


def test_case_width_and_spaces_do_not_matter(tokenizer: Any):
    assert tokenizer("  A  ＲＥＤ\tcar ")["input_ids"] == tokenizer("a red car")["input_ids"]


@pytest.mark.parametrize("text", ["", ENGLISH, "a " * 500, "沙" * 500, "🐱" * 200, END * 100])
def test_a_prompt_has_64_tokens_and_ends_with_the_end(tokenizer: Any, text: str):
    ids = encode(tokenizer, [text])
    assert ids.shape == (1, MAX_TOKENS)
    assert ids[0, -1] == tokenizer.eos_token_id
    assert ids.min() >= 0 and ids.max() < VOCABULARY


def test_the_ids_of_start_end_and_padding_are_those_of_the_text_encoder(tokenizer: Any):
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 1)


def test_the_same_arguments_give_the_same_tokenizer(tokenizer: Any):
    assert build_tokenizer(CAPTIONS).get_vocab() == tokenizer.get_vocab()
