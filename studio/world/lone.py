"""Scenes of one thing alone in flat colours: pictures so plain that 32 pixels and a small network are enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from studio.world.scene import Scene, Thing, is_held_out
from studio.world.vocabulary import BACKGROUNDS, COLOURS, KINDS

STYLE = "flat"
MEADOW, VARIANT = "meadow", 7
"""Where `pinned_of_seed` puts everything, and with which clouds."""


def lone_of_seed(seed: int) -> Scene:
    """Scene number `seed` of one large thing near the middle; its kind, colour and background are uniform but for
    what cannot be seen (white on snow) and what training never shows."""
    rng = np.random.default_rng((seed, 11))
    while True:
        background, kind, colour = str(rng.choice(BACKGROUNDS)), str(rng.choice(KINDS)), str(rng.choice(COLOURS))
        x, base_y, size = rng.uniform(0.45, 0.55), rng.uniform(0.86, 0.94), rng.uniform(0.62, 0.78)
        thing = Thing(kind, colour, float(x), float(base_y), float(size))
        scene = Scene(background, STYLE, (thing,), None, int(rng.integers(1 << 31)))
        if (colour, background) != ("white", "snow") and not is_held_out(scene):
            return scene


def pinned_of_seed(seed: int) -> Scene:
    """Like `lone_of_seed`, but always in the same meadow and in the kind's own colour: only kind, place and size are
    left, little enough for a code of two numbers."""
    scene = lone_of_seed(seed)
    thing = replace(scene.things[0], colour=COLOURS[KINDS.index(scene.things[0].kind) % len(COLOURS)])
    return replace(scene, background=MEADOW, things=(thing,), variant=VARIANT)


def kind_of(scene: Scene) -> int:
    """The label of such a scene: the index of its kind in KINDS."""
    return KINDS.index(scene.things[0].kind)
