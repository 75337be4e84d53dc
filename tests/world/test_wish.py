from __future__ import annotations

import time

import pytest

from studio.world.wish import Wish, WishedThing, parse

UMBRELLA_AND_CAR = (WishedThing("umbrella", "red"), WishedThing("car", "blue"))


@pytest.mark.parametrize(
    "text", ["a red umbrella and a blue car on the beach, watercolour", "沙滩上的红伞和蓝色汽车,水彩"]
)
def test_the_example_prompts_ask_for_the_same(text: str):
    assert parse(text) == Wish(UMBRELLA_AND_CAR, background="beach", style="watercolour")


@pytest.mark.parametrize("text", ["", "  ", "!?", "the meaning of life", "生活的意义", "carpet, scary, kitty", "\0"])
def test_a_text_without_a_known_word_asks_for_nothing(text: str):
    assert parse(text) == Wish()


@pytest.mark.parametrize("text", ["Two RED Cars", "two red cars", "red CAR"])
def test_case_and_plural_do_not_matter(text: str):
    assert parse(text).things == (WishedThing("car", "red"),)


def test_a_colour_belongs_to_what_follows_it():
    assert parse("a person in a red shirt and blue trousers") == Wish(person=True, shirt="red", pants="blue")


def test_a_thing_without_a_colour_leaves_it_open():
    assert parse("a red house and a tree").things == (WishedThing("house", "red"), WishedThing("tree", None))


def test_the_colour_of_hair_is_no_colour_of_a_thing():
    assert parse("a person with red hair and a cat") == Wish((WishedThing("cat", None),), person=True, hair="red")


def test_the_first_of_two_places_counts():
    assert parse("on the beach, in the forest").background == "beach"


def test_the_character_is_somebody():
    assert parse("momo, 扁平") == Wish(person=True, style="flat")


@pytest.mark.parametrize("piece", ["red beach bal", "a", "green meado ", "夜晚的街", "穿", "on a city street at nigh"])
def test_a_hostile_text_of_100000_characters_is_read_in_under_a_second(piece: str):
    text = (piece * 100_000)[:100_000]
    parse(text[:10])
    started = time.process_time()
    parse(text)
    assert time.process_time() - started < 1
