"""Captions of scenes, in English and Chinese, at several levels of detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from studio.world import lexicon
from studio.world.scene import Scene, scene_of_seed
from studio.world.vocabulary import COLOURLESS_STYLES
from studio.world.wish import Wish, WishedThing

Rng = np.random.Generator


def describe(scene: Scene, rng: Rng, language: str, complete: bool = False, styled: bool = True) -> tuple[str, Wish]:
    """A caption of the scene, and the attributes that it names: `parse(text)` gives them back.

    complete: names background, style, every thing with its colour, and the clothes' colours (those that the style
    shows); otherwise each is left out now and then, as people do. styled: if not, nothing tells the style, not even by
    leaving out colours that it cannot show. Things are named from left to right, unless the caption says otherwise.
    """
    wish = _choose(scene, rng, complete, styled)
    ordered = sorted(scene.things, key=lambda thing: thing.x)
    wished = {(t.kind, t.colour): w for t, w in zip(scene.things, wish.things, strict=True)}
    parts = [_thing(wished[t.kind, t.colour], rng, language) for t in ordered]
    mentions = [wished[t.kind, t.colour] for t in ordered]
    if scene.person is not None:
        where = sum(t.x < scene.person.x for t in ordered)
        parts.insert(where, _person(wish, rng, language, scene.person.character))
    subject, reverse = _join(parts, rng, language)
    wish = replace(wish, things=tuple(reversed(mentions) if reverse else mentions))
    return (_english if language == "en" else _chinese)(subject, wish, rng), wish


def caption(scene: Scene, rng: Rng, language: str, complete: bool = False, styled: bool = True) -> str:
    """The text of `describe`."""
    return describe(scene, rng, language, complete, styled)[0]


def surprise(rng: Rng, language: str) -> str:
    """A prompt that the world can draw."""
    return caption(scene_of_seed(int(rng.integers(1 << 40))), rng, language, complete=True)


def _choose(scene: Scene, rng: Rng, complete: bool, styled: bool) -> Wish:
    """Decide what the caption names. A character's clothes and hair are always the same, and so are not named."""

    def kept(share: float) -> bool:
        return complete or bool(rng.random() < share)

    colourless = styled and scene.style in COLOURLESS_STYLES
    colour_share = 0.25 if colourless else 0.92
    things = tuple(
        WishedThing(t.kind, t.colour if (not colourless or not complete) and kept(colour_share) else None)
        for t in scene.things
    )
    wish = Wish(things, scene.person is not None, scene.background if kept(0.92) else None)
    wish = replace(wish, style=scene.style if styled and kept(0.92) else None)
    if scene.person is None:
        return wish
    plain = scene.person.character is None and not colourless
    dressed = plain and kept(0.75)
    return replace(
        wish,
        shirt=scene.person.shirt if dressed else None,
        pants=scene.person.pants if dressed else None,
        hair=scene.person.hair if plain and rng.random() < 0.25 else None,
        pose=scene.person.pose.name if rng.random() < 0.7 else None,
    )


def _pick(names: Sequence[str], rng: Rng) -> str:
    """The first name half of the time, else any."""
    return names[0] if rng.random() < 0.5 else names[int(rng.integers(len(names)))]


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _thing(wished: WishedThing, rng: Rng, language: str) -> str:
    name = _pick(lexicon.KIND_NAMES[language][wished.kind], rng)
    colour = _pick(lexicon.COLOUR_NAMES[language][wished.colour], rng) if wished.colour else ""
    if language == "en":
        return _article(f"{colour} {name}".strip())
    of = "的" if colour.endswith("色") and rng.random() < 0.5 else ""
    measure = lexicon.MEASURE_WORDS[wished.kind] if rng.random() < 0.6 else ""
    return f"{measure}{colour}{of}{name}"


def _person(wish: Wish, rng: Rng, language: str, character: str | None) -> str:
    name = _pick(lexicon.CHARACTER_NAMES[language][character] if character else lexicon.PERSON_NAMES[language], rng)
    pose = _pick(lexicon.POSE_NAMES[language][wish.pose], rng) if wish.pose else ""
    hair = lexicon.HAIR_NAMES[language][wish.hair][0] if wish.hair else ""
    clothes = []
    for colour, names in ((wish.shirt, lexicon.SHIRT_NAMES), (wish.pants, lexicon.PANTS_NAMES)):
        if colour:
            clothes.append((_pick(lexicon.COLOUR_NAMES[language][colour], rng), _pick(names[language], rng)))
    if language == "zh":
        worn = "穿" + "和".join(f"{colour}{garment}" for colour, garment in clothes) + "的" if clothes else ""
        head = f"{hair}的" if hair else ""
        return f"{'' if character else '一个'}{worn}{head}{name}{pose}"
    text = name if character or name.startswith("some") else _article(name)
    if pose:
        text += f" {pose}"
    if hair:
        text += f" with {hair}"
    if clothes:
        (top, shirt), (bottom, pants) = clothes
        text += f" {_pick(('in', 'wearing'), rng)} {_article(f'{top} {shirt}')} and {bottom} {pants}"
    return text


def _join(parts: Sequence[str], rng: Rng, language: str) -> tuple[str, bool]:
    """One subject from parts that are named from left to right; whether it names them in reverse."""
    if len(parts) == 1:
        return parts[0], False
    if len(parts) > 2:
        *first, last = parts
        comma, conjunction = (", ", " and ") if language == "en" else ("、", "和")
        return f"{comma.join(first)}{conjunction}{last}", False
    left, right = parts
    which = rng.random()
    if language == "en":
        if which < 0.5:
            return f"{left} and {right}", False
        if which < 0.65:
            return f"{left} next to {right}", False
        if which < 0.83:
            return f"{left} to the left of {right}", False
        return f"{right} to the right of {left}", True
    if which < 0.55:
        return f"{left}和{right}", False
    if which < 0.78:
        return f"左边是{left},右边是{right}", False
    return f"右边是{right},左边是{left}", True


def _english(subject: str, wish: Wish, rng: Rng) -> str:
    place = f" {_pick(lexicon.BACKGROUND_PHRASES['en'][wish.background], rng)}" if wish.background else ""
    if wish.style is None:
        return subject + place
    style, which = _pick(lexicon.STYLE_NAMES["en"][wish.style], rng), rng.random()
    if which < 0.5:
        return f"{subject}{place}, {style}"
    if which < 0.7:
        return f"{style}: {subject}{place}"
    if which < 0.85:
        return f"{_article(style)} picture of {subject}{place}"
    return f"{subject}{place} in {style} style"


def _chinese(subject: str, wish: Wish, rng: Rng) -> str:
    place = _pick(lexicon.BACKGROUND_PHRASES["zh"][wish.background], rng) if wish.background else ""
    if place:
        scene = f"{place}的{subject}" if rng.random() < 0.6 else f"{subject},{place}"
    else:
        scene = subject
    if wish.style is None:
        return scene
    style, which = _pick(lexicon.STYLE_NAMES["zh"][wish.style], rng), rng.random()
    if which < 0.55:
        return f"{scene},{style}"
    if which < 0.8:
        return f"{style}:{scene}"
    return f"{style}风格的{scene}" if not style.endswith("风格") else f"{style}的{scene}"
