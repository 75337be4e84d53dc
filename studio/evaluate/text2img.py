"""Does the base draw what its prompt says? Held-out scenes are captioned, drawn, and read back by the eye.

Recall and precision of kinds are over all things wished and seen; a colour counts only for a kind that was found, and
not in styles that show none. FD-world depends on the number of samples: its floor is as many real pictures against
the same real ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from studio.build import Studio, build_studio
from studio.errors import ModelUnavailable
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow, wilson
from studio.perception.measure import Measure, colour_holds
from studio.perception.network import ALL_KINDS, ALL_STYLES, frechet_distance
from studio.types import Defaults, Task
from studio.world.caption import describe
from studio.world.render import render_image
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, scene_of_seed
from studio.world.vocabulary import BACKGROUNDS, COLOURLESS_STYLES
from studio.world.wish import Wish

SAMPLES = {"smoke": 8, "cpu": 512, "gpu": 2_048}
BATCH = 16
MOST_UNSEEN_GAP, MOST_LANGUAGE_GAP = 0.10, 0.03
TARGETS = {
    "smoke": {},
    "cpu": {"background": 0.92, "style": 0.95, "kind recall": 0.70, "colour": 0.85, "person": 0.95},
    "gpu": {"background": 0.97, "style": 0.95, "kind recall": 0.90, "colour": 0.92, "person": 0.97},
}
CEILINGS = {
    "background": "background", "style": "style", "kind recall": "kind_recall", "kind precision": "kind_precision",
    "colour": "colour", "person": "person",
}  # fmt: skip


@dataclass
class Tally:
    """Counts of what was right, by name; and the pictures' features."""

    right: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    features: list[torch.Tensor] = field(default_factory=list)

    def add(self, name: str, right: bool) -> None:
        self.right[name] = self.right.get(name, 0) + int(right)
        self.asked[name] = self.asked.get(name, 0) + 1

    def share(self, name: str) -> float:
        return self.right.get(name, 0) / max(1, self.asked.get(name, 0))


def run(settings: Any, ask: Ask) -> Report:
    """Draw and measure. Raises ModelUnavailable without the eye; takes about a second a picture on two cores."""
    started = time.monotonic()
    folder = settings.models_dir / "perception"
    if not (folder / "metrics.json").is_file():
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


def _measured(studio: Studio, measure: Measure, base_id: str, ask: Ask, count: int) -> tuple[list[ReportRow], str]:
    first = FIRST_HELD_OUT_SEED + 1_000_000 * (ask.seed + 1)
    scenes = [scene_of_seed(first + i) for i in range(count)]
    rng = np.random.default_rng((ask.seed, 7))
    unseen = [Scene.sample_held_out_combination(rng) for _ in range(max(BATCH, count // 4))]
    with studio.registry.lease(studio.registry.key(base_id)) as lease:
        defaults = studio.specs[base_id].defaults
        view = lease.view(Task.TEXT_TO_IMAGE, defaults.scheduler)
        seen_tally = _tally(view, defaults, measure, scenes, ask.language, ask.seed)
        unseen_tally = _tally(view, defaults, measure, unseen, ask.language, ask.seed)
        rows = _rows(seen_tally, unseen_tally, measure, TARGETS[ask.preset])
        if ask.language != "en":
            english = _tally(view, defaults, measure, scenes, "en", ask.seed)
            rows += _language_rows(seen_tally, english)
        rows.append(_distance_row(seen_tally, measure, scenes, first + count, defaults.width))
        return rows, lease.components.sha256


def _tally(
    view: Any, defaults: Defaults, measure: Measure, scenes: Sequence[Scene], language: str, seed: int
) -> Tally:
    """Caption, draw and read all scenes. The caption of scene i depends on seed and i alone."""
    tally = Tally()
    told = [describe(scene, np.random.default_rng((seed, i)), language, complete=True) for i, scene in enumerate(scenes)]
    for pictures, rows in _drawn(view, defaults, [text for text, _ in told], seed):
        reading = measure.read(pictures)
        tally.features.append(reading.features)
        for i, row in enumerate(rows):
            _judge(tally, reading, i, scenes[row], told[row][1])
    return tally


def _drawn(
    view: Any, defaults: Defaults, prompts: Sequence[str], seed: int
) -> Iterator[tuple[list[Image.Image], range]]:
    """Pictures of the prompts in batches, with the model's own settings; picture i has its own noise."""
    for start in range(0, len(prompts), BATCH):
        rows = range(start, min(start + BATCH, len(prompts)))
        yield (
            view(
                list(prompts[rows.start : rows.stop]),
                width=defaults.width,
                height=defaults.height,
                num_inference_steps=defaults.num_inference_steps,
                guidance_scale=defaults.guidance_scale,
                generator=[torch.Generator().manual_seed(seed * 1_000_000 + row) for row in rows],
            ).images,
            rows,
        )


def _judge(tally: Tally, reading: Any, i: int, scene: Scene, wish: Wish) -> None:
    """Compare what the eye reads in picture i with the caption's wish."""
    tally.add("background", int(reading.background[i].argmax()) == BACKGROUNDS.index(scene.background))
    tally.add("style", int(reading.style[i].argmax()) == ALL_STYLES.index(scene.style))
    tally.add("person", bool(reading.person[i] > 0) == wish.person)
    found = {kind for kind, logit in zip(ALL_KINDS, reading.kinds[i], strict=True) if logit > 0}
    wished = {thing.kind for thing in wish.things}
    for kind in wished:
        tally.add("kind recall", kind in found)
    for kind in found:
        tally.add("kind precision", kind in wished)
    colourless = scene.style in COLOURLESS_STYLES
    for thing in wish.things:
        right = thing.kind in found
        if thing.colour is not None and not colourless:
            alike = sum(other.kind == thing.kind for other in wish.things)
            coloured = colour_holds(reading, i, thing.kind, thing.colour, alike)
            if right:
                tally.add("colour", coloured)
            right = right and coloured
        if len(scene.entities) == 1:
            tally.add("single thing", right)
        tally.add("thing and colour", right)
    if wish.person and not colourless and bool(reading.person[i] > 0) and scene.person is not None:
        tally.add("shirt", _same_colour(reading.shirt[i], scene.person.shirt))
        tally.add("trousers", _same_colour(reading.pants[i], scene.person.pants))


def _same_colour(logits: torch.Tensor, colour: str) -> bool:
    from studio.world.vocabulary import COLOURS

    return int(logits.argmax()) == COLOURS.index(colour)


def _rows(tally: Tally, unseen: Tally, measure: Measure, targets: dict[str, float]) -> list[ReportRow]:
    names = ("background", "style", "kind recall", "kind precision", "colour", "person")
    rows = [
        _share_row(
            name, tally, "held-out scenes", targets.get(name), measure.ceilings.get(CEILINGS.get(name, ""))
        )
        for name in (*names, "thing and colour", "shirt", "trousers")
    ]
    rows.append(_share_row("single thing", tally, "seen combinations", None, None))
    rows.append(_share_row("single thing", unseen, "unseen combinations", None, None))
    gap = tally.share("single thing") - unseen.share("single thing")
    target = MOST_UNSEEN_GAP if targets else None
    rows.append(ReportRow("unseen gap", gap, where="single things", target=target, sense="lower"))
    return rows


def _share_row(name: str, tally: Tally, where: str, target: float | None, ceiling: float | None) -> ReportRow:
    asked = tally.asked.get(name, 0)
    low, high = wilson(tally.right.get(name, 0), asked) if asked else (0.0, 1.0)
    return ReportRow(name, tally.share(name), "share", where, low, high, ceiling=ceiling, target=target)


def _language_rows(chinese: Tally, english: Tally) -> list[ReportRow]:
    """How much worse Chinese is than English on the same scenes and the same noise."""
    return [
        ReportRow(
            f"{name}, English less Chinese",
            english.share(name) - chinese.share(name),
            where="the same scenes",
            target=MOST_LANGUAGE_GAP,
            sense="lower",
        )
        for name in ("background", "style", "kind recall", "colour", "person")
    ]


@torch.inference_mode()
def _distance_row(tally: Tally, measure: Measure, scenes: Sequence[Scene], other_seed: int, size: int) -> ReportRow:
    """FD-world to renders of the same scenes, beside the distance between two sets of renders."""

    def features(chosen: Sequence[Scene]) -> torch.Tensor:
        batches = [chosen[i : i + 64] for i in range(0, len(chosen), 64)]
        pictures = ([Image.fromarray(render_image(scene, size)) for scene in batch] for batch in batches)
        return torch.cat([measure.read(batch).features for batch in pictures])

    real = features(scenes)
    floor = frechet_distance(real, features([scene_of_seed(other_seed + i) for i in range(len(scenes))]))
    value = frechet_distance(torch.cat(tally.features), real)
    return ReportRow("FD-world", value, where="held-out scenes", ceiling=floor, sense="lower")
