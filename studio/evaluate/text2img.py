"""Does the base draw what its prompt says? Held-out scenes are captioned, drawn, and read back by the eye.

Recall and precision of kinds are over all things wished and seen; a colour counts only for a kind that was found, and
not in styles that show none. FD-world depends on the number of samples: its floor is as many real pictures against
the same real ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from studio.build import Studio, build_studio
from studio.engine.backends import install
from studio.engine.lease import Lease
from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.evaluate.clip_score import ClipScore
from studio.evaluate.report import Report, ReportRow, bootstrap_mean, wilson
from studio.evaluate.scenes import captions, render_features
from studio.perception.measure import METRICS, Measure, colour_holds
from studio.perception.network import ALL_KINDS, ALL_STYLES, Reading, frechet_distance
from studio.types import Defaults, Precision, Task
from studio.world.render import render_image
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, scene_of_seed
from studio.world.vocabulary import BACKGROUNDS, COLOURLESS_STYLES, COLOURS
from studio.world.wish import Wish, WishedThing

SAMPLES = {"smoke": 8, "cpu": 512, "gpu": 2_048}
BATCH = 16
MOST_UNSEEN_GAP, MOST_LANGUAGE_GAP = 0.10, 0.03
TARGETS: dict[str, dict[str, float]] = {
    "smoke": {},
    "cpu": {"background": 0.92, "style": 0.95, "kind recall": 0.70, "colour": 0.85, "person": 0.95},
    "gpu": {"background": 0.97, "style": 0.95, "kind recall": 0.90, "colour": 0.92, "person": 0.97},
}
# The eye's names of what has a ceiling.
CEILINGS = {
    "background": "background",
    "style": "style",
    "kind recall": "kind_recall",
    "kind precision": "kind_precision",
    "colour": "colour",
    "person": "person",
    "shirt": "shirt",
    "trousers": "pants",
}


@dataclass
class Tally:
    """Counts of what was right, by name; what the eye read, and the pictures' agreement with their prompts."""

    right: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    features: list[torch.Tensor] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    cosines: list[torch.Tensor] = field(default_factory=list)

    def add(self, name: str, right: bool) -> None:
        self.right[name] = self.right.get(name, 0) + int(right)
        self.asked[name] = self.asked.get(name, 0) + 1

    def share(self, name: str) -> float:
        """The share of right ones; 0 of nothing."""
        return self.right.get(name, 0) / max(1, self.asked.get(name, 0))


@dataclass(frozen=True)
class Painter:
    """A model at its own settings. view: a pipeline of diffusers; picture i of any list has the noise of i, and the map
    of i where there are maps; also: further arguments of the call for the pictures at some places."""

    view: Any
    defaults: Defaults
    seed: int
    maps: Sequence[Image.Image] = ()
    also: Callable[[range], Mapping[str, Any]] = lambda places: {}

    def draw(self, prompts: Sequence[str]) -> Iterator[tuple[range, list[Image.Image]]]:
        """Pictures of the prompts in batches, each with the places of its prompts."""
        for start in range(0, len(prompts), BATCH):
            places = range(start, min(start + BATCH, len(prompts)))
            result = self.view(
                [prompts[place] for place in places],
                width=self.defaults.width,
                height=self.defaults.height,
                num_inference_steps=self.defaults.num_inference_steps,
                guidance_scale=self.defaults.guidance_scale,
                generator=[torch.Generator().manual_seed(self.seed * 1_000_000 + place) for place in places],
                **({"image": [self.maps[place] for place in places]} if self.maps else {}),
                **self.also(places),
            )
            yield places, result.images


@dataclass(frozen=True)
class Truth:
    """A painter that cannot err: it renders the scenes themselves, whatever the prompts say."""

    scenes: Sequence[Scene]
    size: int
    seed: int

    def draw(self, prompts: Sequence[str]) -> Iterator[tuple[range, list[Image.Image]]]:
        for start in range(0, len(prompts), BATCH):
            places = range(start, min(start + BATCH, len(prompts)))
            yield places, [Image.fromarray(render_image(self.scenes[place], self.size)) for place in places]


def run(settings: Any, ask: Ask) -> Report:
    """Draw and measure. Raises ModelUnavailable without the eye; takes half a second a picture on two cores."""
    started = time.monotonic()
    folder = settings.models_dir / "perception"
    if not (folder / METRICS).is_file():
        raise ModelUnavailable("no_eye")
    measure, studio = Measure.load(folder), build_studio(settings)
    count, base_id = ask.samples or SAMPLES[ask.preset], ask.model or next(iter(studio.specs))
    try:
        rows, sha256 = _measured(studio, measure, base_id, ask, count)
    finally:
        studio.jobs.close()
    return Report(
        command=f"evaluate text2img --language {ask.language}",
        rows=tuple(rows),
        model_id=base_id,
        model_sha256=sha256,
        eye=measure.sha256,
        preset=ask.preset,
        device=studio.registry.device,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def exact_view(lease: Lease, defaults: Defaults) -> Any:
    """A pipeline that draws as the studio does in exact mode, by whatever is fastest here."""
    view = lease.view(Task.TEXT_TO_IMAGE, defaults.scheduler)
    install(view, Precision.EXACT, lease)
    return view


def _measured(studio: Studio, measure: Measure, base_id: str, ask: Ask, count: int) -> tuple[list[ReportRow], str]:
    """All rows, and the hash of the model."""
    first = FIRST_HELD_OUT_SEED + 1_000_000 * (ask.seed + 1)
    scenes = [scene_of_seed(first + i) for i in range(count)]
    rng = np.random.default_rng((ask.seed, 7))
    unseen_scenes = [Scene.sample_held_out_combination(rng) for _ in range(max(BATCH, count // 4))]
    clip_folder = studio.settings.models_dir / "little-world-clip"
    clip = ClipScore(clip_folder) if (clip_folder / "metrics.json").is_file() else None
    with studio.registry.lease(studio.registry.key(base_id)) as lease:
        defaults = studio.specs[base_id].defaults
        painter = Painter(exact_view(lease, defaults), defaults, ask.seed)
        seen = tally_of(painter, measure, scenes, ask.language, clip)
        unseen = tally_of(painter, measure, unseen_scenes, ask.language)
        rows = rows_of(seen, unseen, measure.ceilings, TARGETS[ask.preset])
        if ask.language != "en":
            rows += language_rows(seen, tally_of(painter, measure, scenes, "en"), bool(TARGETS[ask.preset]))
        if clip is not None:
            true = tally_of(Truth(scenes, defaults.width, ask.seed), measure, scenes, ask.language, clip)
            rows.append(clip_row(seen, true, ask.seed))
        if count > 1:  # one picture has no spread
            rows += distance_rows({"held-out scenes": seen}, measure, scenes, first + count, defaults.width)
        return rows, lease.components.sha256


class Draws(Protocol):
    """Whoever gives pictures of prompts, in batches with the places of their prompts."""

    @property
    def seed(self) -> int: ...

    def draw(self, prompts: Sequence[str]) -> Iterator[tuple[range, list[Image.Image]]]: ...


def tally_of(
    painter: Draws, measure: Measure, scenes: Sequence[Scene], language: str, clip: ClipScore | None = None
) -> Tally:
    """Caption, draw and read all scenes. The caption of scene i depends on the painter's seed and i alone."""
    return tally_told(painter, measure, scenes, captions(scenes, painter.seed, language), clip)


def tally_told(
    painter: Draws,
    measure: Measure,
    scenes: Sequence[Scene],
    told: Sequence[tuple[str, Wish]],
    clip: ClipScore | None = None,
) -> Tally:
    """Draw the prompts and read the pictures; each is compared with its scene and with its wish."""
    tally = Tally()
    for places, pictures in painter.draw([text for text, _ in told]):
        reading = measure.read(pictures)
        tally.features.append(reading.features)
        tally.readings.append(reading)
        if clip is not None:
            tally.cosines.append(clip.cosines([told[place][0] for place in places], pictures))
        for i, place in enumerate(places):
            _judge(tally, reading, i, scenes[place], told[place][1])
    return tally


def _judge(tally: Tally, reading: Reading, i: int, scene: Scene, wish: Wish) -> None:
    """Compare what the eye reads in picture i with the scene that its caption tells."""
    tally.add("background", int(reading.background[i].argmax()) == BACKGROUNDS.index(scene.background))
    tally.add("style", int(reading.style[i].argmax()) == ALL_STYLES.index(scene.style))
    seen = bool(reading.person[i] > 0)
    tally.add("person", seen == wish.person)
    if wish.person and seen and wish.shirt and wish.pants:
        tally.add("shirt", int(reading.shirt[i].argmax()) == COLOURS.index(wish.shirt))
        tally.add("trousers", int(reading.pants[i].argmax()) == COLOURS.index(wish.pants))
    found = {kind for kind, logit in zip(ALL_KINDS, reading.kinds[i], strict=True) if logit > 0}
    wished = {thing.kind for thing in wish.things}
    for kind in wished:
        tally.add("kind recall", kind in found)
    for kind in found:
        tally.add("kind precision", kind in wished)
    for thing in wish.things:
        right = _judge_thing(tally, reading, i, thing, wish, thing.kind in found)
        tally.add("thing and colour", right)
        if len(scene.entities) == 1:
            tally.add("single thing", right)


def _judge_thing(tally: Tally, reading: Reading, i: int, thing: WishedThing, wish: Wish, found: bool) -> bool:
    """Whether the thing is there in its colour; a colour counts by itself only for what was found."""
    if thing.colour is None or wish.style in COLOURLESS_STYLES:
        return found
    alike = sum(other.kind == thing.kind for other in wish.things)
    coloured = colour_holds(reading, i, thing.kind, thing.colour, alike)
    if found:
        tally.add("colour", coloured)
    return found and coloured


def rows_of(seen: Tally, unseen: Tally, ceilings: Mapping[str, float], targets: Mapping[str, float]) -> list[ReportRow]:
    """One row per question on held-out scenes; then how much worse combinations are that training never showed."""
    names = (*CEILINGS, "thing and colour")
    rows = [
        _share_row(name, seen, "held-out scenes", targets.get(name), ceilings.get(CEILINGS.get(name, "")))
        for name in names
    ]
    rows.append(_share_row("single thing", seen, "seen combinations"))
    rows.append(_share_row("single thing", unseen, "unseen combinations"))
    gap = seen.share("single thing") - unseen.share("single thing")
    target = MOST_UNSEEN_GAP if targets else None
    rows.append(ReportRow("unseen gap", gap, where="single things", target=target, sense="lower"))
    return rows


def _share_row(
    name: str, tally: Tally, where: str, target: float | None = None, ceiling: float | None = None
) -> ReportRow:
    low, high = wilson(tally.right.get(name, 0), tally.asked.get(name, 0))
    return ReportRow(name, tally.share(name), "share", where, low, high, ceiling=ceiling, target=target)


def language_rows(chinese: Tally, english: Tally, has_targets: bool) -> list[ReportRow]:
    """How much worse Chinese is than English on the same scenes and the same noise."""
    return [
        ReportRow(
            f"{name}, English less Chinese",
            english.share(name) - chinese.share(name),
            where="the same scenes",
            target=MOST_LANGUAGE_GAP if has_targets else None,
            sense="lower",
        )
        for name in ("background", "style", "kind recall", "colour", "person")
    ]


def clip_row(tally: Tally, true: Tally, seed: int) -> ReportRow:
    """Mean cosine of picture and prompt, beside that of true pictures with the same prompts."""
    values, ceiling = torch.cat(tally.cosines), float(torch.cat(true.cosines).mean())
    low, high = bootstrap_mean(values.tolist(), seed)
    return ReportRow("CLIP score", float(values.mean()), "cosine", "held-out scenes", low, high, ceiling=ceiling)


@torch.inference_mode()
def distance_rows(
    tallies: Mapping[str, Tally], measure: Measure, scenes: Sequence[Scene], other_seed: int, size: int
) -> list[ReportRow]:
    """FD-world of each to renders of the same scenes, beside the distance between two sets of renders."""
    real = render_features(measure, scenes, size)
    others = [scene_of_seed(other_seed + i) for i in range(len(scenes))]
    floor = frechet_distance(real, render_features(measure, others, size))
    return [
        ReportRow("FD-world", frechet_distance(torch.cat(one.features), real), "", where, ceiling=floor, sense="lower")
        for where, one in tallies.items()
    ]
