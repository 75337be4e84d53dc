"""What a LoRA learns on the page: a person's own pictures, or scenes of the world that show one style, thing or person,
under a word of the person's choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studio.engine.pictures import fitted, open_picture
from studio.errors import InvalidInput
from studio.types import Fit
from studio.ui.source import uploaded
from studio.world import lexicon
from studio.world.caption import caption
from studio.world.concepts import CONCEPTS, concept_scene
from studio.world.render import render_image
from studio.world.scene import Scene, scene_of_seed
from studio.world.vocabulary import STYLES

if TYPE_CHECKING:
    from studio.train.lessons import Told

PICTURES = "pictures"
SOURCES = (PICTURES, *CONCEPTS, *STYLES)
FEWEST, MOST = 3, 40
NAMES = {"kind": lexicon.KIND_NAMES, "character": lexicon.CHARACTER_NAMES}
CAPTION_STREAM = 11  # of random numbers


@dataclass(frozen=True, eq=False)
class Subject:
    """source: one of SOURCES; pictures: (N, size, size, 3) uint8 where they are a person's own."""

    trigger: str
    source: str
    pictures: NDArray[np.uint8] | None = field(default=None, repr=False)

    @property
    def prompt(self) -> str:
        """What the picture that grows is drawn from."""
        match self._role:
            case "style":
                return f"a cat in a room, {self.trigger}"
            case "kind":
                return f"a red {self.trigger} in a meadow"
            case "character":
                return f"{self.trigger} in a meadow"
            case _:
                return self.trigger

    @property
    def _role(self) -> str:
        return PICTURES if self.source == PICTURES else CONCEPTS.get(self.source, "style")

    def chunks(self, size: int, chunks: int, each: int) -> Iterator[Told]:
        """What is learnt from, so many at a time: all pictures, or scenes enough for so many chunks."""
        if self.pictures is None:
            yield from told(map(self._scene, count()), self._caption, size, chunks, each)
            return
        from studio.train.lessons import Told

        for start in range(0, len(self.pictures), each):
            some = self.pictures[start : start + each]
            yield Told(some, [[self.trigger]] * len(some))

    def _scene(self, seed: int) -> Scene:
        if self.source in CONCEPTS:
            return concept_scene(self.source, seed)
        return replace(scene_of_seed(seed), style=self.source)

    def _caption(self, scene: Scene, rng: np.random.Generator, language: str, complete: bool) -> str:
        """A caption in which the trigger stands for what is learnt: the world's own word for it is left out."""
        if self._role == "style":
            return f"{caption(scene, rng, language, complete, styled=False)}, {self.trigger}"
        text = caption(scene, rng, language, complete)
        for name in sorted(NAMES[self._role][language][self.source], key=len, reverse=True):
            if name in text:
                return text.replace(name, self.trigger)
        return f"{self.trigger}, {text}"


def told(scenes: Iterator[Scene], captioned: Any, size: int, chunks: int, each: int) -> Iterator[Told]:
    """Renders, each with a complete caption and a shorter one in both languages, so many at a time."""
    from studio.train.lessons import Told

    for chunk in range(chunks):
        rng, some = np.random.default_rng((chunk, CAPTION_STREAM)), list(islice(scenes, each))
        captions = [
            [captioned(scene, rng, lang, complete) for complete in (True, False) for lang in lexicon.LANGUAGES]
            for scene in some
        ]
        yield Told(np.stack([render_image(scene, size) for scene in some]), captions)


def ordinary(size: int, chunks: int, each: int) -> Iterator[Told]:
    """What the base knows already, and shall keep, so many at a time."""
    return told(map(scene_of_seed, count()), caption, size, chunks, each)


def subject_of(source: Any, trigger: Any, files: Any, size: int) -> Subject:
    """From raw values of the page. Raises StudioError that names what is wrong."""
    from studio.train.lessons import checked_trigger

    if source not in SOURCES:
        raise InvalidInput("not_a_choice", field="source", value=str(source)[:40], choices=", ".join(SOURCES))
    word = checked_trigger(trigger if isinstance(trigger, str) else "")
    return Subject(word, source, pictures_of(files, size) if source == PICTURES else None)


def pictures_of(files: Any, size: int) -> NDArray[np.uint8]:
    """Uploaded pictures, cut to their middle square, one after another. (N, size, size, 3). Raises InvalidInput."""
    found: Sequence[Any] = files if isinstance(files, list) else [] if files is None else [files]
    if not FEWEST <= len(found) <= MOST:
        raise InvalidInput("lora_pictures", field=PICTURES, minimum=FEWEST, maximum=MOST, value=len(found))
    pictures = []
    for number, file in enumerate(found, start=1):
        name = f"{PICTURES} {number}"
        opened = open_picture(uploaded(file, name), name).image
        pictures.append(np.asarray(fitted(opened, (size, size), Fit.CROP).convert("RGB"), np.uint8))
    return np.stack(pictures)
