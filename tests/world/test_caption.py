from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from studio.world.caption import caption, describe, surprise
from studio.world.lexicon import CHARACTER_NAMES, LANGUAGES, PERSON_NAMES
from studio.world.pose import PROTOTYPES
from studio.world.scene import Person, Scene, Thing, anything_of_seed, scene_of_seed
from studio.world.vocabulary import COLOURLESS_STYLES
from studio.world.wish import Wish, WishedThing, parse

CAT = Thing("cat", "white", x=0.3, base_y=0.9, size=0.4)
CAR = Thing("car", "red", x=0.7, base_y=0.85, size=0.4)
SOMEBODY = Person(0.5, 0.93, 0.7, PROTOTYPES["waving"], shirt="red", pants="blue", skin="tan", hair="black")


def test_the_parser_gives_back_what_5000_captions_name():
    for seed in range(1_250):
        rng = np.random.default_rng(seed)
        for language in LANGUAGES:
            for complete in (True, False):
                text, wish = describe(scene_of_seed(seed), rng, language, complete)
                assert parse(text) == wish, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_of_reserved_concepts_are_parsed_too(language: str):
    for seed in range(300):
        text, wish = describe(anything_of_seed(seed), np.random.default_rng(seed), language, complete=True)
        assert parse(text) == wish, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_complete_caption_names_all_that_the_style_shows(language: str):
    for seed in range(300):
        scene = scene_of_seed(seed)
        wish = parse(caption(scene, np.random.default_rng(seed), language, complete=True))
        shown = scene.style not in COLOURLESS_STYLES
        assert (wish.background, wish.style) == (scene.background, scene.style)
        things = {WishedThing(thing.kind, thing.colour if shown else None) for thing in scene.things}
        assert set(wish.things) == things
        assert wish.person == (scene.person is not None)
        assert wish.shirt == (scene.person.shirt if scene.person and shown else None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_generator_gives_the_same_caption(language: str):
    texts = [caption(scene_of_seed(7), np.random.default_rng(3), language) for _ in range(2)]
    assert texts[0] == texts[1]


def test_things_are_named_from_left_to_right_unless_the_caption_says_otherwise():
    scene = Scene("beach", "flat", (CAR, CAT), None, 0)
    for seed in range(100):
        text, wish = describe(scene, np.random.default_rng(seed), "en", complete=True)
        kinds = [thing.kind for thing in wish.things]
        assert kinds == (["car", "cat"] if "to the right of" in text else ["cat", "car"]), text


def test_the_clothes_colours_belong_to_the_clothes():
    text, wish = describe(Scene("room", "flat", (CAT,), SOMEBODY, 0), np.random.default_rng(0), "en", complete=True)
    assert wish.things == (WishedThing("cat", "white"),)
    assert (parse(text).shirt, parse(text).pants) == ("red", "blue")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_surprise_is_a_prompt_that_the_world_can_draw(language: str):
    rng = np.random.default_rng(0)
    assert all(parse(surprise(rng, language)) != Wish() for _ in range(20))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_caption_without_style_tells_the_same_whatever_the_style(language: str):
    for seed in range(300):
        scene = scene_of_seed(seed)
        texts = {
            caption(replace(scene, style=style), np.random.default_rng(seed), language, True, styled=False)
            for style in ("flat", "line", "blueprint")
        }
        assert len(texts) == 1
        assert parse(texts.pop()).style is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_character_is_named_and_its_clothes_are_not(language: str):
    known = replace(SOMEBODY, character="momo")
    for seed in range(50):
        text, wish = describe(Scene("room", "flat", (CAT,), known, 0), np.random.default_rng(seed), language, True)
        assert CHARACTER_NAMES[language]["momo"][0] in text
        assert not any(name in text for name in PERSON_NAMES[language])
        assert (wish.person, wish.shirt, wish.pants, wish.hair) == (True, None, None, None)
