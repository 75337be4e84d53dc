"""A LoRA that is trained while somebody looks: the work, which yields the device between its steps.

It learns on a clone that shares every weight with the resident model and carries the low-rank pairs alone, so that
others draw with the untouched base meanwhile. Who stops it keeps what it has learnt so far.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from studio.construction import CONSTRUCTION_LOCK
from studio.engine.adapted import AdaptedSet, adapted_set
from studio.engine.generate import with_models
from studio.engine.lease import Lease
from studio.engine.strengths import draw
from studio.errors import Cancelled
from studio.events import Context, Row
from studio.tabs.lora_subject import Subject, ordinary
from studio.types import GenerationRequest, Scheduler

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.train.lessons import Lessons, Told
    from studio.train.lora_steps import Learner

LEAST_MINUTES, MOST_MINUTES = 1, 10
LEAST_RANK, MOST_RANK = 1, 32
MINUTE_SECONDS, TELL_SECONDS, PICTURES = 60.0, 2.0, 8
"""How often it tells its loss, and about how many pictures it draws while it learns."""
CHUNK, CHUNKS = 32, 3
"""Scenes are rendered and encoded by so many at once, so often and once more for each minute: of what is learnt, and
as many ordinary ones."""
MEASURED = 32
PICTURE_STEPS, PICTURE_GUIDANCE = 8, 4.0


@dataclass(frozen=True)
class Taught:
    """What a training came to. losses: (step, loss), each the mean since the one before; pictures: (step, picture),
    all from the same noise; before, after: the loss on what it learns from, at fixed times and noise, without it and
    with it; name: on the shelf, once it lies there."""

    losses: tuple[tuple[int, float], ...] = ()
    pictures: tuple[tuple[int, Image], ...] = ()
    spent_seconds: float = 0.0
    before: float | None = None
    after: float | None = None
    name: str = ""

    @property
    def steps(self) -> int:
        return self.losses[-1][0] if self.losses else 0


@dataclass(frozen=True, eq=False)
class LoraTraining:
    """The work; `Done` carries a Taught, and Rows before it carry the same so far.

    minutes: of its own, not of those whose work it lets through; put: lays a file on the shelf, through the gate, and
    gives its name there; size: of the pictures, in pixels a side.
    """

    long: ClassVar[bool] = True
    subject: Subject = field(repr=False)
    base_id: str
    size: int
    put: Callable[[Path], str] = field(repr=False)
    minutes: int = 3
    rank: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        """Raises InvalidInput that names the field."""
        from studio.engine.noising import whole  # the page is drawn without torch

        object.__setattr__(self, "minutes", whole("minutes", self.minutes, LEAST_MINUTES, MOST_MINUTES))
        object.__setattr__(self, "rank", whole("rank", self.rank, LEAST_RANK, MOST_RANK))

    @property
    def request(self) -> GenerationRequest:
        """The picture that grows."""
        return GenerationRequest(
            self.base_id, self.subject.prompt, width=self.size, height=self.size, seed=self.seed,
            num_inference_steps=PICTURE_STEPS, guidance_scale=PICTURE_GUIDANCE, scheduler=Scheduler.DDIM,
        )  # fmt: skip

    def run(self, context: Context) -> Taught:
        """Learn until the minutes are spent or somebody stops it. Raises Cancelled where it was stopped before it
        began to learn, GenerationFailed where memory runs out, and as the gate does."""
        return with_models(self.request, context, lambda lease: _Teaching(self, lease, context).run())


class _Teaching:
    """One run of the work. clone: the model with the pairs on it; spent_seconds: its own."""

    def __init__(self, wish: LoraTraining, lease: Lease, context: Context) -> None:
        self.wish, self.lease, self.context = wish, lease, context
        self.clone: AdaptedSet = adapted_set(lease.components, _trainable)
        self.spent_seconds = 0.0
        self.budget_seconds = MINUTE_SECONDS * wish.minutes

    def run(self) -> Taught:
        with CONSTRUCTION_LOCK:
            from studio.train.lora_steps import Learner, Recipe

        lessons, prior = self.lessons(*self.own()), None
        if self.lease.spec.family == "little_world":
            prior = self.lessons(*self.ordinary())
        parts, rank = self.clone.components, self.wish.rank
        with self.context.registry.lane:
            recipe = Recipe(rank=rank, alpha=rank)
            with CONSTRUCTION_LOCK:
                learner = Learner(parts["unet"], parts["text_encoder"], parts["scheduler"], recipe, self.wish.seed)
            before = self.loss(learner, lessons)
        start = taught = Taught(pictures=((0, self.picture()),), before=before)
        self.context.emit(Row({"taught": start}))
        try:
            for taught in self.learn(learner, lessons, prior, start):
                self.context.emit(Row({"taught": taught}))
        except Cancelled:
            if not taught.steps:
                raise
        with self.context.registry.lane:
            learner.round()
            after = self.loss(learner, lessons)
        return replace(taught, after=after, name=self.kept(learner, taught.steps))

    def own(self) -> tuple[Iterator[Told], int]:
        """What is learnt from, and how many pictures that are."""
        subject, chunks = self.wish.subject, CHUNKS + self.wish.minutes
        number = chunks * CHUNK if subject.pictures is None else len(subject.pictures)
        return subject.chunks(self.wish.size, chunks, CHUNK), number

    def ordinary(self) -> tuple[Iterator[Told], int]:
        """What the base knows already, likewise."""
        chunks = CHUNKS + self.wish.minutes
        return ordinary(self.wish.size, chunks, CHUNK), chunks * CHUNK

    def lessons(self, chunks: Iterator[Told], number: int) -> Lessons:
        """So many pictures as the model sees them, encoded a chunk at a time."""
        import torch

        from studio.train.lessons import Lessons, encoded

        found = []
        parts = self.clone.components
        read = 0
        for told in chunks:
            self.context.yield_device()
            with self.context.registry.lane:
                found.append(encoded(told, parts["vae"], parts["tokenizer"]))
            read += len(told.pictures)
            self.context.emit(Row({"pictures_read": read, "pictures": number}))
        return Lessons(torch.cat([one.latents for one in found]), torch.cat([one.tokens for one in found]))

    def learn(self, learner: Learner, lessons: Lessons, prior: Lessons | None, taught: Taught) -> Iterator[Taught]:
        """Step after step, with what is to be told now and then. Raises Cancelled between two steps."""
        from studio.train.lora_steps import lora_steps

        tokenizer = self.clone.components["tokenizer"]
        steps = lora_steps(learner, lessons, self.fraction, tokenizer, prior, self.wish.seed)
        since, told, drew = list[float](), 0.0, 0.0
        while True:
            self.context.yield_device()
            started = time.monotonic()
            with self.context.registry.lane:
                progress = next(steps)
            self.spent_seconds += time.monotonic() - started
            since.append(progress.loss)
            ended = progress.fraction >= 1
            if ended or self.spent_seconds - told >= TELL_SECONDS:
                point = (progress.step, float(np.mean(since)))
                pictures = taught.pictures
                if ended or self.spent_seconds - drew >= self.budget_seconds / PICTURES:
                    pictures = (*pictures, (progress.step, self.picture()))
                    drew = self.spent_seconds
                told, since = self.spent_seconds, []
                taught = replace(taught, losses=(*taught.losses, point), pictures=pictures)
                yield replace(taught, spent_seconds=self.spent_seconds)
            if ended:
                return

    def fraction(self, parameters: object) -> float:
        """The spent share of the budget, as `lora_steps` asks for it."""
        return self.spent_seconds / self.budget_seconds

    def picture(self) -> Image:
        """What it draws by now: as the studio draws, with the clone in place of the model."""
        started = time.monotonic()
        drawn = draw(self.wish.request, replace(self.lease, components=self.clone), self.context)
        self.spent_seconds += time.monotonic() - started
        return drawn

    def loss(self, learner: Learner, lessons: Lessons) -> float:
        """On the first lessons, at fixed times and noise."""
        from studio.train.lessons import Lessons
        from studio.train.lora_steps import fixed_loss

        return fixed_loss(learner, Lessons(lessons.latents[:MEASURED], lessons.tokens[:MEASURED]))

    def kept(self, learner: Learner, steps: int) -> str:
        """The file, laid on the shelf through the gate; its name there."""
        from studio.train.lora_files import save_lora

        wish = self.wish
        told = {
            "base": wish.base_id,
            "trigger": wish.subject.trigger,
            "resolution": f"{wish.size}x{wish.size}",
            "steps": str(steps),
        }
        with TemporaryDirectory() as folder:
            file = Path(folder) / f"{file_stem(wish.subject.trigger)}.safetensors"
            save_lora(file, learner.weights(), wish.rank, wish.rank, "diffusers", told)
            return wish.put(file)


def _trainable(parts: Any) -> None:
    """In full precision: half of it loses the small steps of a training."""
    for name in ("unet", "text_encoder", "vae"):
        parts[name].float()


def file_stem(trigger: str) -> str:
    """A trigger word as the name of a file."""
    return re.sub(r"\W+", "_", trigger).strip("_")
