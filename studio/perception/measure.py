"""What a person is told about a picture: which of their wishes it fulfils, by an eye whose own accuracy is known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from studio.perception.network import ALL_KINDS, ALL_STYLES, SIDE, Eye, Reading, as_input
from studio.world import lexicon
from studio.world.vocabulary import BACKGROUNDS, COLOURLESS_STYLES, COLOURS, POSES
from studio.world.wish import Wish, parse

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, METRICS = "eye.safetensors", "metrics.json"


@dataclass(frozen=True)
class Mark:
    """One attribute that a prompt asked for. labels: by language; ceiling: the eye's accuracy on true pictures."""

    labels: Mapping[str, str]
    holds: bool
    confidence: float
    ceiling: float


def as_batch(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of any size to (B, 3, 128, 128) in [-1, 1]."""
    arrays = [np.asarray(p.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)) for p in pictures]
    return as_input(np.stack(arrays))


class Measure:
    """The eye with its weights and its ceilings."""

    def __init__(self, eye: Eye, ceilings: Mapping[str, float], sha256: str) -> None:
        self.eye, self.ceilings, self.sha256 = eye.eval(), dict(ceilings), sha256

    @classmethod
    def load(cls, folder: Path) -> Measure:
        """Read models/perception; raises FileNotFoundError where it is not."""
        facts = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        eye = Eye()
        eye.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()})
        return cls(eye, facts["metrics"], facts["sha256"])

    @torch.inference_mode()
    def read(self, pictures: Sequence[Image.Image]) -> Reading:
        """What the eye sees in pictures of any size."""
        return self.eye(as_batch(pictures))

    def obedience(self, prompt: str, pictures: Sequence[Image.Image]) -> list[tuple[Mark, ...]]:
        """For each picture, a mark for every attribute that the prompt names and the eye reads; empty without one."""
        wish = parse(prompt)
        reading = self.read(pictures)
        return [
            (*self._things(wish, reading, i), *self._person(wish, reading, i), *self._whole(wish, reading, i))
            for i in range(len(pictures))
        ]

    def _things(self, wish: Wish, reading: Reading, i: int) -> Iterator[Mark]:
        """A thing holds if its kind is seen and, where its colour was asked for and can be seen, that colour too."""
        for thing in wish.things:
            seen = float(reading.kinds[i, ALL_KINDS.index(thing.kind)].sigmoid())
            if thing.colour is None or wish.style in COLOURLESS_STYLES:
                yield self._presence(_labels(lexicon.KIND_NAMES, thing.kind), seen, "kind_recall")
                continue
            alike = sum(other.kind == thing.kind for other in wish.things)
            right = colour_holds(reading, i, thing.kind, thing.colour, alike)
            labels = _in_colour(thing.colour, _labels(lexicon.KIND_NAMES, thing.kind))
            yield Mark(labels, seen > 0.5 and right, seen, self.ceilings["kind_recall"] * self.ceilings["colour"])

    def _person(self, wish: Wish, reading: Reading, i: int) -> Iterator[Mark]:
        if wish.person:
            yield self._presence(_first(lexicon.PERSON_NAMES), float(reading.person[i].sigmoid()), "person")
        if wish.shirt and wish.style not in COLOURLESS_STYLES:
            labels = _in_colour(wish.shirt, _first(lexicon.SHIRT_NAMES))
            yield self._choice(labels, reading.shirt[i], COLOURS.index(wish.shirt), "shirt")
        if wish.pants and wish.style not in COLOURLESS_STYLES:
            labels = _in_colour(wish.pants, _first(lexicon.PANTS_NAMES))
            yield self._choice(labels, reading.pants[i], COLOURS.index(wish.pants), "pants")
        if wish.pose:
            labels = _labels(lexicon.POSE_NAMES, wish.pose)
            yield self._choice(labels, reading.pose[i], POSES.index(wish.pose), "pose")

    def _whole(self, wish: Wish, reading: Reading, i: int) -> Iterator[Mark]:
        if wish.background:
            labels = _labels(lexicon.BACKGROUND_NAMES, wish.background)
            yield self._choice(labels, reading.background[i], BACKGROUNDS.index(wish.background), "background")
        if wish.style:
            labels = _labels(lexicon.STYLE_NAMES, wish.style)
            yield self._choice(labels, reading.style[i], ALL_STYLES.index(wish.style), "style")

    def _presence(self, labels: Mapping[str, str], confidence: float, part: str) -> Mark:
        return Mark(labels, confidence > 0.5, confidence, self.ceilings[part])

    def _choice(self, labels: Mapping[str, str], logits: Tensor, wanted: int, part: str) -> Mark:
        confidence = float(logits.softmax(0)[wanted])
        return Mark(labels, int(logits.argmax()) == wanted, confidence, self.ceilings[part])


def colour_holds(reading: Reading, i: int, kind: str, colour: str, alike: int = 1) -> bool:
    """Whether `colour` is among the `alike` likeliest colours of that kind in picture i."""
    best = reading.pairs[i, ALL_KINDS.index(kind)].topk(alike).indices.tolist()
    return COLOURS.index(colour) in best


def _labels(names: Mapping[str, lexicon.Names], value: str) -> dict[str, str]:
    """The commonest name of a value, by language."""
    return {language: names[language][value][0] for language in lexicon.LANGUAGES}


def _first(names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {language: names[language][0] for language in lexicon.LANGUAGES}


def _in_colour(colour: str, nouns: Mapping[str, str]) -> dict[str, str]:
    """The nouns with the colour before them, as each language writes it."""
    colours = _labels(lexicon.COLOUR_NAMES, colour)
    return {"en": f"{colours['en']} {nouns['en']}", "zh": f"{colours['zh']}{nouns['zh']}"}
