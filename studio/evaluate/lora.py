"""Do the LoRAs of the reserved concepts teach them, and does the base keep what it can?

Held-out scenes of a concept are told by name and drawn on the same noise with its LoRA and without; the eye, which
knows the reserved concepts, says whether they are there. Ordinary prompts are drawn with it too, and prompts that ask
for a style and for something in it, with both LoRAs, the style's at STYLE_BESIDE. The ceiling is what the eye sees in
the scenes' own renders once they have been through the autoencoder.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from studio.build import Studio, build_studio
from studio.errors import ModelUnavailable
from studio.evaluate.adapters import MOST_PROMPT_LOSS, PROMPT_MEASURES, Perfect, adapted_view, loss_row, read
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow, folder_sha256, wilson
from studio.evaluate.text2img import Painter, Tally, Truth, exact_view, tally_told
from studio.lineage import require_built_on
from studio.perception.measure import METRICS, Measure
from studio.perception.network import ALL_KINDS, ALL_STYLES
from studio.world.caption import describe
from studio.world.concepts import CONCEPTS, concept_scene, with_concept
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, scene_of_seed
from studio.world.wish import Wish

SAMPLES = {"smoke": 4, "cpu": 64, "gpu": 256}
TARGETS = {"cpu": 0.65, "gpu": 0.85}
STYLE_BESIDE = 0.7
FOLDER = "loras"


@dataclass(frozen=True)
class Case:
    """Scenes that show some concepts, or none; their prompts, and what those ask for beside the concepts."""

    concepts: tuple[str, ...]
    scenes: Sequence[Scene]
    told: Sequence[tuple[str, Wish]]

    @property
    def measures(self) -> tuple[str, ...]:
        """The attributes by which prompts are marked: the style too, where it is no concept."""
        return PROMPT_MEASURES if "style" in map(CONCEPTS.get, self.concepts) else (*PROMPT_MEASURES, "style")


def case_of(concepts: tuple[str, ...], ask: Ask, count: int) -> Case:
    """The first `count` held-out scenes that show the concepts all together, told in full."""
    first = FIRST_HELD_OUT_SEED + 3_000_000_000 + 1_000_000 * ask.seed
    scenes: list[Scene] = []
    seed = first
    while len(scenes) < count:
        rng = np.random.default_rng((seed, 12))
        scene: Scene | None = concept_scene(concepts[0], seed) if concepts else scene_of_seed(seed)
        for concept in concepts[1:]:
            scene = scene and with_concept(concept, scene, rng)
        seed += 1
        if scene is not None:
            scenes.append(scene)
    rngs = (np.random.default_rng((ask.seed, i, 12)) for i in range(count))
    told = [describe(scene, rng, ask.language, complete=True) for scene, rng in zip(scenes, rngs, strict=True)]
    return Case(concepts, scenes, [(text, beside(wish, concepts)) for text, wish in told])


def beside(wish: Wish, concepts: Sequence[str]) -> Wish:
    """The wish without the concepts themselves."""
    return replace(wish, things=tuple(thing for thing in wish.things if thing.kind not in concepts))


def run(settings: Any, ask: Ask) -> Report:
    """Draw and measure. Raises ModelUnavailable without the eye, without any LoRA of a reserved concept, or where one
    was trained on another base; takes about three seconds a sample and LoRA on two cores."""
    started, base_id = time.monotonic(), ask.model or "little-world"
    models, count = settings.models_dir, ask.samples or SAMPLES[ask.preset]
    loras = find_loras(models / base_id)
    if not (models / "perception" / METRICS).is_file():
        raise ModelUnavailable("no_eye")
    measure, studio = Measure.load(models / "perception"), build_studio(settings)
    try:
        rows = _measured(studio, base_id, loras, measure, ask, count)
    finally:
        studio.jobs.close()
    return Report(
        command=f"evaluate lora --language {ask.language}",
        rows=tuple(rows),
        model_id=f"{base_id}/{FOLDER}",
        model_sha256=folder_sha256(models / base_id / FOLDER),
        eye=measure.sha256,
        preset=ask.preset,
        device=studio.registry.device,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def find_loras(base: Path) -> dict[str, Path]:
    """The LoRAs of reserved concepts in a base's folder, in the concepts' order. Raises ModelUnavailable if there is
    none, or if one was trained on another base."""
    found: dict[str, Path] = {}
    for concept in CONCEPTS:
        if (path := lora_of(base, concept)) is not None:
            found[concept] = path
    if not found:
        raise ModelUnavailable("no_lora", folder=base / FOLDER, choices="|".join(CONCEPTS))
    return found


def lora_of(base: Path, name: str) -> Path | None:
    """The file of one LoRA in a base's folder; None without it or its facts. Raises ModelUnavailable if it was
    trained on another base."""
    path = base / FOLDER / f"{name}.safetensors"
    if not path.is_file() or not path.with_suffix(".json").is_file():
        return None
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    for part in ("unet", "text_encoder"):
        require_built_on(path.stem, facts, part, base / part)
    return path


def _measured(
    studio: Studio, base_id: str, loras: Mapping[str, Path], measure: Measure, ask: Ask, count: int
) -> list[ReportRow]:
    """All rows."""
    with studio.registry.lease(studio.registry.key(base_id)) as lease:
        defaults = studio.specs[base_id].defaults
        view = lora_view(lease.components, loras, defaults)
        plain = Painter(exact_view(lease, defaults), defaults, ask.seed)
        painter = Painter(view, defaults, ask.seed)

        def tally(case: Case, concepts: tuple[str, ...]) -> Tally:
            if concepts:
                view.set_adapters(list(concepts), list(weights_of(concepts)))
            return tally_told(painter if concepts else plain, measure, case.scenes, case.told)

        rows, ordinary = [], case_of((), ask, count)
        ordinary_without = tally(ordinary, ())
        for concepts in (*((concept,) for concept in loras), *pairs(loras)):
            case = case_of(concepts, ask, count)
            perfect = Perfect(plain.view, Truth(case.scenes, defaults.width, ask.seed))
            true = tally_told(perfect, measure, case.scenes, case.told)
            rows += rows_of(case, tally(case, concepts), tally(case, ()), true, ask)
            if len(concepts) == 1:
                name = f"{concepts[0]}: ordinary prompts, without less with"
                found = tally(ordinary, concepts)
                rows.append(loss_row(name, "ordinary scenes", found, ordinary_without, None, ordinary.measures))
    return rows


def lora_view(pristine: Any, loras: Mapping[str, Path], defaults: Any) -> Any:
    """diffusers' own pipeline with all LoRAs that stock `load_lora_weights` reads, each under its concept's name."""

    def load(pipeline: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are meant
            for concept, path in loras.items():
                pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=concept)

    return adapted_view(pristine, defaults.scheduler, load)


def weights_of(concepts: Sequence[str]) -> tuple[float, ...]:
    """One alone at 1; of two, the style at STYLE_BESIDE: at 1 a style that outlines everything covers what the other
    one draws (pop art and momo: .22 of 64 pictures showed both, .53 do so)."""
    return tuple(STYLE_BESIDE if CONCEPTS[one] == "style" and len(concepts) > 1 else 1.0 for one in concepts)


def pairs(loras: Mapping[str, Path]) -> list[tuple[str, str]]:
    """A style and something in it: the first style with the first of the others, and so on."""
    styles = [concept for concept in loras if CONCEPTS[concept] == "style"]
    others = [concept for concept in loras if CONCEPTS[concept] != "style"]
    return list(zip(styles, others, strict=False))


def rows_of(case: Case, with_lora: Tally, without: Tally, true: Tally, ask: Ask) -> list[ReportRow]:
    """Whether the concepts are there, all of them, with and without and in true pictures; and what else the prompts
    lose."""
    name, where = " and ".join(case.concepts), f"scenes of {' in '.join(reversed(case.concepts))}"
    if len(case.concepts) > 1:
        where += f", weights {', '.join(f'{one:g}' for one in weights_of(case.concepts))}"
    right, total = int(seen(with_lora, case.concepts).sum()), len(case.scenes)
    low, high = wilson(right, total)
    baseline, top = (float(seen(one, case.concepts).float().mean()) for one in (without, true))
    target = TARGETS.get(ask.preset)
    loss = f"{name}: prompt accuracy, without less with"
    return [
        ReportRow(name, right / total, "share", where, low, high, baseline, top, target),
        loss_row(loss, where, with_lora, without, MOST_PROMPT_LOSS.get(ask.preset), case.measures),
    ]


def seen(tally: Tally, concepts: Sequence[str]) -> Tensor:
    """(N,) whether the eye sees all the concepts."""
    found = None
    for concept in concepts:
        match CONCEPTS[concept]:
            case "style":
                one = read(tally, "style").argmax(1) == ALL_STYLES.index(concept)
            case "kind":
                one = read(tally, "kinds")[:, ALL_KINDS.index(concept)] > 0
            case "character":
                one = read(tally, "character") > 0
        found = one if found is None else found & one
    assert found is not None
    return found
