"""Does a ControlNet's picture follow its map, and what does that cost the prompt?

Held-out scenes are captioned and drawn three times with the same noise: from the prompt alone (the baseline), with the
scene's true map, and with the map that a preprocessor finds in its render. The ceiling is what the measure says of the
true render after the autoencoder: nothing that comes out of its decoder can be expected to do better.

    gain = (value - baseline) / (ceiling - baseline)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from studio.build import Studio, build_studio
from studio.errors import ModelUnavailable, StudioError
from studio.evaluate.ask import Ask
from studio.evaluate.report import RESAMPLES, Report, ReportRow, bootstrap_mean, folder_sha256
from studio.evaluate.text2img import BATCH, Painter, Tally, exact_view, tally_of
from studio.lineage import FACTS, require_base
from studio.perception.heads import StructureReader
from studio.perception.measure import METRICS, Measure
from studio.perception.network import as_input
from studio.perception.obedience import Reader, obedience
from studio.types import ControlUse, GenerationRequest
from studio.world.maps import MAP_KINDS, MapKind, canny_map, true_map
from studio.world.render import Rendered, render
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, scene_of_seed

SAMPLES = {"smoke": 8, "cpu": 256, "gpu": 1_024}
GAIN_TARGETS = {"cpu": 0.45, "gpu": 0.75}
MOST_PROMPT_LOSS = 0.05
PROMPT_MEASURES = ("background", "style", "kind recall", "colour", "person")
MEASURES: dict[MapKind, str] = {"canny": "edge F1", "depth": "depth order", "pose": "joints in place"}
TRUE_MAPS, FOUND_MAPS = "maps of ground truth", "maps of the preprocessor"


@dataclass(frozen=True)
class Case:
    """One question: scenes with their renders, how to read pictures, and the eye that marks prompts."""

    kind: MapKind
    scenes: Sequence[Scene]
    renders: Sequence[Rendered]
    reader: Reader | None
    measure: Measure
    language: str

    def obeys(self, pictures: Sequence[Image.Image]) -> NDArray[np.float64]:
        """One number a picture: what it keeps of its scene."""
        found: list[float] = []
        for start in range(0, len(pictures), BATCH):
            rows = slice(start, start + BATCH)
            found += obedience(self.kind, pictures[rows], self.scenes[rows], self.reader)
        return np.array(found)

    def true_maps(self) -> list[Image.Image]:
        return [Image.fromarray(true_map(self.kind, rendered)) for rendered in self.renders]

    def found_maps(self) -> list[Image.Image]:
        """What the studio's preprocessor finds in the true renders."""
        pictures = self.pictures()
        if self.kind == "canny":
            return [Image.fromarray(canny_map(np.asarray(picture))) for picture in pictures]
        assert self.reader is not None
        found = []
        for start in range(0, len(pictures), BATCH):
            for read, picture in zip(
                self.reader.read(pictures[start : start + BATCH]), pictures[start : start + BATCH], strict=True
            ):
                drawn = read.depth_map(picture.height) if self.kind == "depth" else read.pose_map(picture.height)
                found.append(Image.fromarray(drawn))
        return found

    def pictures(self) -> list[Image.Image]:
        return [Image.fromarray(rendered.image) for rendered in self.renders]


@dataclass
class Keeping:
    """A painter whose pictures are kept."""

    painter: Painter
    kept: list[Image.Image] = field(default_factory=list)

    @property
    def seed(self) -> int:
        return self.painter.seed

    def draw(self, prompts: Sequence[str]) -> Iterator[tuple[range, list[Image.Image]]]:
        for places, pictures in self.painter.draw(prompts):
            self.kept += pictures
            yield places, pictures


def run(settings: Any, ask: Ask) -> Report:
    """Draw and measure. Raises ModelUnavailable where the ControlNet, the eye or the heads are missing or do not belong
    to the present base; takes about two seconds a scene on two cores."""
    started, kind = time.monotonic(), kind_of(ask)
    base_id, count = ask.model or "little-world", ask.samples or SAMPLES[ask.preset]
    folder = find_control(settings.models_dir, base_id, kind)
    if not (settings.models_dir / "perception" / METRICS).is_file():
        raise ModelUnavailable("no_eye")
    measure = Measure.load(settings.models_dir / "perception")
    reader = None if kind == "canny" else StructureReader.load(settings.models_dir)
    studio = build_studio(settings)
    try:
        case = case_of(kind, ask, count, studio.specs[base_id].defaults.width, reader, measure)
        rows = _measured(studio, base_id, case, ask)
    finally:
        studio.jobs.close()
    return Report(
        command=f"evaluate controlnet --kind {kind} --language {ask.language}",
        rows=tuple(rows),
        model_id=f"{base_id}/{folder.name}",
        model_sha256=folder_sha256(folder),
        eye=measure.sha256,
        preset=ask.preset,
        device=studio.registry.device,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def kind_of(ask: Ask) -> MapKind:
    """The kind of map that is asked about. Raises StudioError without one."""
    if ask.kind not in MAP_KINDS:
        raise StudioError("kind_missing", choices=", ".join(MAP_KINDS))
    return ask.kind


def find_control(models: Path, base_id: str, kind: MapKind) -> Path:
    """The folder of a base's ControlNet. Raises ModelUnavailable if it is missing or was trained on another UNet."""
    folder = models / base_id / f"controlnet-{kind}"
    if not (folder / FACTS).is_file():
        raise ModelUnavailable("no_controlnet", model=folder.name, kind=kind)
    require_base(folder, "unet", models / base_id / "unet")
    return folder


def case_of(kind: MapKind, ask: Ask, count: int, size: int, reader: Reader | None, measure: Measure) -> Case:
    """The first `count` held-out scenes that have such a map: for a pose, those with a person."""
    seed = FIRST_HELD_OUT_SEED + 1_000_000_000 + 1_000_000 * ask.seed
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = scene_of_seed(seed)
        seed += 1
        if kind != "pose" or scene.person is not None:
            scenes.append(scene)
    return Case(kind, scenes, [render(scene, size) for scene in scenes], reader, measure, ask.language)


def _measured(studio: Studio, base_id: str, case: Case, ask: Ask) -> list[ReportRow]:
    """All rows."""
    defaults, registry = studio.specs[base_id].defaults, studio.registry
    maps = case.true_maps()
    with (
        registry.lease(registry.key(base_id)) as base,
        registry.lease_for(request_of(studio, base_id, case, maps)) as own,
    ):
        plain = Painter(exact_view(base, defaults), defaults, ask.seed)
        steered = Painter(exact_view(own, defaults), defaults, ask.seed, maps)
        ceiling = case.obeys(given_back(base.components.components["vae"], case.pictures()))
        told, baseline = drawn(case, plain)
        kept, value = drawn(case, steered)
        found = value
        if case.kind != "canny":  # its true map is what the preprocessor finds
            found = drawn(case, replace(steered, maps=case.found_maps()))[1]
    target = GAIN_TARGETS.get(ask.preset)
    name = MEASURES[case.kind]
    rows = [
        *gain_rows(name, TRUE_MAPS, value, baseline, ceiling, ask.seed, target),
        *gain_rows(name, FOUND_MAPS, found, baseline, ceiling, ask.seed, None),
        mean_row(name, "true renders", case.obeys(case.pictures()), ask.seed),
    ]
    return rows + prompt_rows(told, kept, bool(target))


def request_of(studio: Studio, base_id: str, case: Case, maps: Sequence[Image.Image]) -> GenerationRequest:
    """One that a map of this kind steers: what it needs is what all pictures are drawn with."""
    base = studio.specs[base_id]
    specs = (spec for control in studio.controls if control.id == case.kind for spec in control.specs)
    use = ControlUse(case.kind, next(spec.id for spec in specs if spec.family == base.family), (maps[0],))
    own = base.defaults
    return GenerationRequest(base_id, "", 0, width=own.width, height=own.height, controls=(use,))


def drawn(case: Case, painter: Painter) -> tuple[Tally, NDArray[np.float64]]:
    """What a painter's pictures keep of their prompts, and of their scenes."""
    keeping = Keeping(painter)
    tally = tally_of(keeping, case.measure, case.scenes, case.language)
    return tally, case.obeys(keeping.kept)


@torch.inference_mode()
def given_back(vae: Any, pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Pictures as the autoencoder gives them back."""
    found: list[Image.Image] = []
    for start in range(0, len(pictures), BATCH):
        x = as_input(np.stack([np.asarray(picture) for picture in pictures[start : start + BATCH]]))
        y = vae(x.to(vae.device, vae.dtype)).sample.float().clamp(-1, 1)
        pixels = ((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        found += [Image.fromarray(one) for one in pixels]
    return found


def mean_row(name: str, where: str, values: NDArray[np.float64], seed: int) -> ReportRow:
    """The mean over pictures with its interval."""
    low, high = bootstrap_mean(cast(Sequence[float], values), seed)
    return ReportRow(name, float(values.mean()), "mean over pictures", where, low, high)


def gain_rows(
    name: str,
    where: str,
    value: NDArray[np.float64],
    baseline: NDArray[np.float64],
    ceiling: NDArray[np.float64],
    seed: int,
    target: float | None,
) -> list[ReportRow]:
    """The measure, and the share of the way from the baseline to the ceiling; (N,) each, of the same scenes.

    Raises StudioError if the ceiling is not above the baseline: then there is nothing to gain.
    """
    floor, top = float(baseline.mean()), float(ceiling.mean())
    if top <= floor:
        raise StudioError("nothing_to_gain", row=name, baseline=round(floor, 4), ceiling=round(top, 4))
    low, high = gain_interval(value, baseline, ceiling, seed)
    gain = ReportRow(f"{name}, gain", gain_of(value, baseline, ceiling), "", where, low, high, target=target)
    return [replace(mean_row(name, where, value, seed), baseline=floor, ceiling=top), gain]


def gain_of(value: NDArray[np.float64], baseline: NDArray[np.float64], ceiling: NDArray[np.float64]) -> float:
    """(value - baseline) / (ceiling - baseline) of their means."""
    return float((value.mean() - baseline.mean()) / (ceiling.mean() - baseline.mean()))


def gain_interval(
    value: NDArray[np.float64], baseline: NDArray[np.float64], ceiling: NDArray[np.float64], seed: int
) -> tuple[float, float]:
    """The 95 % interval of the gain: scenes are drawn again with replacement, each with all its three numbers."""
    rng, table = np.random.default_rng(seed), np.stack([value, baseline, ceiling])
    means = np.stack([table[:, rng.integers(len(value), size=len(value))].mean(1) for _ in range(RESAMPLES)])
    room = means[:, 2] - means[:, 1]
    gains = (means[:, 0] - means[:, 1])[room > 0] / room[room > 0]
    low, high = np.percentile(gains, (2.5, 97.5))
    return float(low), float(high)


def prompt_rows(told: Tally, kept: Tally, has_targets: bool) -> list[ReportRow]:
    """How much worse prompts are followed with a map than without, on the same scenes and noise."""
    return [
        ReportRow(
            f"{name}, without less with map",
            told.share(name) - kept.share(name),
            "share",
            TRUE_MAPS,
            baseline=told.share(name),
            target=MOST_PROMPT_LOSS if has_targets else None,
            sense="lower",
        )
        for name in PROMPT_MEASURES
    ]
