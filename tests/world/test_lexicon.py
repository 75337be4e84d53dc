from __future__ import annotations

from collections import Counter

import pytest

from studio.world import lexicon, vocabulary

VALUES = [
    (lexicon.KIND_NAMES, (*vocabulary.KINDS, *vocabulary.RESERVED_KINDS)),
    (lexicon.COLOUR_NAMES, vocabulary.COLOURS),
    (lexicon.BACKGROUND_NAMES, vocabulary.BACKGROUNDS),
    (lexicon.BACKGROUND_PHRASES, vocabulary.BACKGROUNDS),
    (lexicon.STYLE_NAMES, (*vocabulary.STYLES, *vocabulary.RESERVED_STYLES)),
    (lexicon.HAIR_NAMES, vocabulary.HAIRS),
    (lexicon.POSE_NAMES, vocabulary.POSES),
    (lexicon.CHARACTER_NAMES, vocabulary.RESERVED_CHARACTERS),
]


@pytest.mark.parametrize("language", lexicon.LANGUAGES)
def test_every_value_of_the_vocabulary_has_names(language: str):
    for names, values in VALUES:
        assert set(names[language]) == set(values)
        assert all(names[language][value] and all(names[language][value]) for value in values)


def test_every_kind_has_a_measure_word():
    assert set(lexicon.MEASURE_WORDS) == set(lexicon.KIND_NAMES["zh"])


@pytest.mark.parametrize("language", lexicon.LANGUAGES)
def test_no_name_means_two_things(language: str):
    tables = [names for names, _ in VALUES if names is not lexicon.BACKGROUND_PHRASES]
    words = [name for table in tables for names in table[language].values() for name in names]
    for names in (lexicon.PERSON_NAMES, lexicon.SHIRT_NAMES, lexicon.PANTS_NAMES):
        words += names[language]
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_every_colour_skin_and_hair_has_a_paint():
    assert set(vocabulary.RGB) == set(vocabulary.COLOURS)
    assert set(vocabulary.SKIN_RGB) == set(vocabulary.SKINS)
    assert set(vocabulary.HAIR_RGB) == set(vocabulary.HAIRS)
