"""A scene says everything that a picture of the little world shows; its distribution is documented here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from studio.world.pose import Pose, sample_pose
from studio.world.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    HAIRS,
    HELD_OUT_COLOURED,
    HELD_OUT_PLACED,
    HELD_OUT_STYLED,
    KINDS,
    POSES,
    RESERVED_CHARACTERS,
    RESERVED_KINDS,
    RESERVED_STYLES,
    SKINS,
    STYLES,
)

# Scenes for measuring come from seeds at and above this one; training uses the seeds below.
FIRST_HELD_OUT_SEED = 1 << 40


@dataclass(frozen=True)
class Thing:
    """An object that stands on the ground. x: its centre; base_y: its foot; size: its larger side; all in pictures."""

    kind: str
    colour: str
    x: float
    base_y: float
    size: float


@dataclass(frozen=True)
class Person:
    """Somebody. x, base_y: between the feet; height: of the upright body, in pictures."""

    x: float
    base_y: float
    height: float
    pose: Pose
    shirt: str
    pants: str
    skin: str
    hair: str
    character: str | None = None


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn. variant: seeds the background's own details (clouds, hills, windows)."""

    background: str
    style: str
    things: tuple[Thing, ...]
    person: Person | None
    variant: int

    @property
    def entities(self) -> tuple[Thing | Person, ...]:
        """Things and person, from far to near."""
        people = (self.person,) if self.person else ()
        return tuple(sorted((*self.things, *people), key=lambda entity: entity.base_y))

    @staticmethod
    def sample(rng: np.random.Generator, max_entities: int = 3) -> Scene:
        """Draw a scene as training sees it: never a held-out combination, never a reserved concept.

        Background and style are uniform. 38% one thing, 30% two things, 14% a person, 15% a person and a thing,
        3% a person and two things (cut at max_entities). Kinds and colours are uniform but for what cannot be
        seen (white on snow) and what is held out. Two things never share a kind and a colour.
        """
        while True:
            scene = _sample_any(rng, max_entities)
            if not is_held_out(scene):
                return scene

    @staticmethod
    def sample_anything(rng: np.random.Generator) -> Scene:
        """Draw a scene of the whole world, held-out combinations and reserved concepts included: for the eye."""
        scene = _sample_any(rng, 3, (*STYLES, *RESERVED_STYLES), (*KINDS, *RESERVED_KINDS))
        if scene.person is not None and rng.random() < 0.15:
            return replace(scene, person=replace(scene.person, character=RESERVED_CHARACTERS[0]))
        return scene

    @staticmethod
    def sample_held_out_combination(rng: np.random.Generator) -> Scene:
        """A scene with one of the combinations that training never shows."""
        which = int(rng.integers(3))
        kind = (HELD_OUT_COLOURED[0][1], HELD_OUT_PLACED[0][0], HELD_OUT_STYLED[0][0])[which]
        style = HELD_OUT_STYLED[0][1] if which == 2 else str(rng.choice([s for s in STYLES if s != "line"]))
        background = HELD_OUT_PLACED[0][1] if which == 1 else str(rng.choice(BACKGROUNDS))
        colours = [c for c in COLOURS if (c, kind) not in HELD_OUT_COLOURED and (c, background) != ("white", "snow")]
        colour = HELD_OUT_COLOURED[0][0] if which == 0 else str(rng.choice(colours))
        size, variant = float(rng.uniform(0.46, 0.62)), int(rng.integers(1 << 31))
        thing = Thing(kind, colour, float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.84, 0.92)), size)
        return Scene(background, style, (thing,), None, variant)


def is_held_out(scene: Scene) -> bool:
    """Whether the scene shows a combination that training must not see."""
    return any(
        (thing.colour, thing.kind) in HELD_OUT_COLOURED
        or (thing.kind, scene.background) in HELD_OUT_PLACED
        or (thing.kind, scene.style) in HELD_OUT_STYLED
        for thing in scene.things
    )


def scene_of_seed(seed: int, max_entities: int = 3) -> Scene:
    """The scene number `seed` of the world: training uses seeds below FIRST_HELD_OUT_SEED."""
    return Scene.sample(np.random.default_rng(seed), max_entities)


def anything_of_seed(seed: int) -> Scene:
    """The scene number `seed` of the whole world, reserved concepts included."""
    return Scene.sample_anything(np.random.default_rng((seed, 4)))


def _sample_any(
    rng: np.random.Generator, max_entities: int, styles: tuple[str, ...] = STYLES, kinds: tuple[str, ...] = KINDS
) -> Scene:
    background, style = str(rng.choice(BACKGROUNDS)), str(rng.choice(styles))
    things, people = ((1, 0), (2, 0), (0, 1), (1, 1), (2, 1))[int(rng.choice(5, p=(0.38, 0.30, 0.14, 0.15, 0.03)))]
    while things + people > max_entities:
        things, people = (things - 1, people) if things else (things, people - 1)
    count = things + people
    slots = {1: ((0.38, 0.62),), 2: ((0.25, 0.31), (0.69, 0.75)), 3: ((0.18, 0.2), (0.49, 0.51), (0.8, 0.82))}[count]
    order = rng.permutation(count)
    sizes = {1: (0.46, 0.66), 2: (0.38, 0.48), 3: (0.29, 0.32)}[count]
    pairs: set[tuple[str, str]] = set()
    while len(pairs) < things:
        pair = (str(rng.choice(kinds)), str(rng.choice(COLOURS)))
        if (pair[1], background) != ("white", "snow"):
            pairs.add(pair)
    placed = tuple(
        Thing(
            kind,
            colour,
            x=float(rng.uniform(*slots[order[i]])),
            base_y=float(rng.uniform(0.82, 0.93)),
            size=float(rng.uniform(*sizes)),
        )
        for i, (kind, colour) in enumerate(sorted(pairs))
    )
    person = _sample_person(rng, slots[order[-1]], background) if people else None
    return Scene(background, style, placed, person, int(rng.integers(1 << 31)))


def _sample_person(rng: np.random.Generator, slot: tuple[float, float], background: str) -> Person:
    colours = [c for c in COLOURS if (c, background) != ("white", "snow")]
    pose = sample_pose(str(rng.choice(POSES)), rng)
    return Person(
        x=float(rng.uniform(*slot)),
        base_y=float(rng.uniform(0.9, 0.96)),
        height=float(rng.uniform(0.66, 0.78)),
        pose=pose,
        shirt=str(rng.choice(colours)),
        pants=str(rng.choice(colours)),
        skin=str(rng.choice(SKINS)),
        hair=str(rng.choice(HAIRS)),
    )
