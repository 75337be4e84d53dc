"""What a person is told about a picture: which of their wishes it fulfils, by an eye whose own accuracy is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from studio.perception.network import ALL_KINDS, ALL_STYLES, SIDE, Eye, Reading
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
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1


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
        return self.eye(as_batch(pictures))

    def obedience(self, prompt: str, pictures: Sequence[Image.Image]) -> list[tuple[Mark, ...]]:
        """For each picture, a mark for every attribute that the prompt names; empty if it names none."""
        wish = parse(prompt)
        reading = self.read(pictures)
        return [tuple(self._marks(wish, reading, i)) for i in range(len(pictures))]

    def _marks(self, wish: Wish, reading: Reading, i: int) -> list[Mark]:
        marks = [self._thing(wish, reading, i, number) for number in range(len(wish.things))]
        if wish.person:
            seen = float(reading.person[i].sigmoid())
            marks.append(self._mark({lang: lexicon.PERSON_NAMES[lang][0] for lang in lexicon.LANGUAGES}, seen, "person"))
        colourless = wish.style in COLOURLESS_STYLES
        for part, logits, names in (
            ("shirt", reading.shirt, lexicon.SHIRT_NAMES),
            ("pants", reading.pants, lexicon.PANTS_NAMES),
        ):
            colour = getattr(wish, part)
            if colour and not colourless:
                labels = {lang: _joined(lang, colour, names[lang][0]) for lang in lexicon.LANGUAGES}
                marks.append(self._choice(labels, logits[i], COLOURS.index(colour), part))
        if wish.pose:
            labels = {lang: lexicon.POSE_NAMES[lang][wish.pose][0] for lang in lexicon.LANGUAGES}
            marks.append(self._choice(labels, reading.pose[i], POSES.index(wish.pose), "pose"))
        for part, value, values, table, logits in (
            ("background", wish.background, BACKGROUNDS, lexicon.BACKGROUND_NAMES, reading.background),
            ("style", wish.style, ALL_STYLES, lexicon.STYLE_NAMES, reading.style),
        ):
            if value:
                labels = {lang: table[lang][value][0] for lang in lexicon.LANGUAGES}
                marks.append(self._choice(labels, logits[i], values.index(value), part))
        return marks

    def _mark(self, labels: Mapping[str, str], confidence: float, part: str) -> Mark:
        return Mark(labels, confidence > 0.5, confidence, self.ceilings[part])

    def _choice(self, labels: Mapping[str, str], logits: Tensor, wanted: int, part: str) -> Mark:
        confidence = float(logits.softmax(0)[wanted])
        return Mark(labels, int(logits.argmax()) == wanted, confidence, self.ceilings[part])

    def _thing(self, wish: Wish, reading: Reading, i: int, number: int) -> Mark:
        """A thing holds if its kind is seen and, where its colour was asked for and can be seen, that colour too."""
        thing = wish.things[number]
        seen = float(reading.kinds[i, ALL_KINDS.index(thing.kind)].sigmoid())
        if thing.colour is None or wish.style in COLOURLESS_STYLES:
            names = {lang: lexicon.KIND_NAMES[lang][thing.kind][0] for lang in lexicon.LANGUAGES}
            return self._mark(names, seen, "kind_recall")
        alike = sum(other.kind == thing.kind for other in wish.things)
        right = colour_holds(reading, i, thing.kind, thing.colour, alike)
        labels = {
            lang: _joined(lang, thing.colour, lexicon.KIND_NAMES[lang][thing.kind][0]) for lang in lexicon.LANGUAGES
        }
        return Mark(labels, seen > 0.5 and right, seen, self.ceilings["kind_recall"] * self.ceilings["colour"])


def colour_holds(reading: Reading, i: int, kind: str, colour: str, alike: int = 1) -> bool:
    """Whether `colour` is among the `alike` likeliest colours of that kind in picture i."""
    best = reading.pairs[i, ALL_KINDS.index(kind)].topk(alike).indices.tolist()
    return COLOURS.index(colour) in best


def _joined(language: str, colour: str, noun: str) -> str:
    name = lexicon.COLOUR_NAMES[language][colour][0]
    return f"{name} {noun}" if language == "en" else f"{name}{noun}"
