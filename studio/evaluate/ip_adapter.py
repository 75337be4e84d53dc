"""Does a picture's style come over, does the prompt still say what is drawn, and does the reference's content stay out?

Held-out scenes are told without their style and drawn on the same noise at several scales, each with a reference: a
render of another held-out scene. At scale 0 the adapter does nothing: that is the baseline. A quarter of them is drawn
with each block of the UNet alone, which says what that block carries.

    leak = share of the reference's things, unasked for, in the picture  -  that share at scale 0
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel

from studio.build import Studio, build_studio
from studio.engine.views import build_view
from studio.errors import ModelUnavailable
from studio.evaluate.adapters import MOST_PROMPT_LOSS, PIPELINE, accuracy_row, adapted_view, loss_row, read
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow, bootstrap_mean, folder_sha256, wilson
from studio.evaluate.text2img import BATCH, Painter, Tally, tally_told
from studio.lineage import FACTS, require_base
from studio.perception.measure import METRICS, Measure
from studio.perception.network import ALL_KINDS
from studio.types import ControlUse, Defaults
from studio.world.caption import describe
from studio.world.render import render_image
from studio.world.scene import FIRST_HELD_OUT_SEED, Scene, is_held_out, scene_of_seed
from studio.world.vocabulary import COLOURLESS_STYLES
from studio.world.wish import Wish

SAMPLES = {"smoke": 8, "cpu": 256, "gpu": 1_024}
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)
DEFAULT_SCALE: float = ControlUse.scale
SHARE_FOR_BLOCKS = 4
"""One in so many samples is drawn with each block alone."""
STYLE_TARGETS = {"cpu": 0.70, "gpu": 0.90}
MOST_LEAK = {"cpu": 0.20, "gpu": 0.10}
CLIP = "little-world-clip"


@dataclass(frozen=True)
class Case:
    """scenes: what is asked for, in the style of the reference; told: prompts without a style, and what they ask for;
    references: other scenes."""

    scenes: list[Scene]
    told: list[tuple[str, Wish]]
    references: list[Scene]

    def part(self, count: int) -> Case:
        """The first of them."""
        return Case(self.scenes[:count], self.told[:count], self.references[:count])

    def strangers(self, place: int) -> tuple[set[str], bool]:
        """Kinds that the reference shows and the prompt does not ask for, and whether that holds for a person."""
        wish, reference = self.told[place][1], self.references[place]
        kinds = {thing.kind for thing in reference.things} - {thing.kind for thing in wish.things}
        return kinds, reference.person is not None and not wish.person


def case_of(ask: Ask, count: int) -> Case:
    """Pairs of held-out scenes that have nothing but the style in common, save by chance. No combination is asked for
    that training never showed."""
    first = FIRST_HELD_OUT_SEED + 2_000_000_000 + 1_000_000 * ask.seed
    case, seed = Case([], [], []), first
    while len(case.scenes) < count:
        scene, reference = scene_of_seed(seed), scene_of_seed(seed + 500_000)
        seed += 1
        styled = replace(scene, style=reference.style)
        if is_held_out(styled):
            continue
        case.scenes.append(styled)
        case.references.append(reference)
        text, wish = describe(scene, np.random.default_rng((ask.seed, seed)), ask.language, True, styled=False)
        case.told.append((text, shown(wish, reference.style)))
    return case


def shown(wish: Wish, style: str) -> Wish:
    """The wish with the reference's style, and without the colours that this style cannot show."""
    if style in COLOURLESS_STYLES:
        return replace(wish, style=style, shirt=None, pants=None)
    return replace(wish, style=style)


def run(settings: Any, ask: Ask) -> Report:
    """Draw and measure. Raises ModelUnavailable where the adapter or the eye is missing, or where the adapter was
    trained on another UNet or CLIP than the present ones; takes about five seconds a sample on two cores."""
    started, base_id = time.monotonic(), ask.model or "little-world"
    models, count = settings.models_dir, ask.samples or SAMPLES[ask.preset]
    folder = find_adapter(models, base_id)
    if not (models / "perception" / METRICS).is_file():
        raise ModelUnavailable("no_eye")
    measure, studio = Measure.load(models / "perception"), build_studio(settings)
    try:
        rows = _measured(studio, base_id, folder, measure, case_of(ask, count), ask)
    finally:
        studio.jobs.close()
    return Report(
        command=f"evaluate ip-adapter --language {ask.language}",
        rows=tuple(rows),
        model_id=folder.name,
        model_sha256=folder_sha256(folder),
        eye=measure.sha256,
        preset=ask.preset,
        device=studio.registry.device,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def find_adapter(models: Path, base_id: str) -> Path:
    """The folder of a base's IP-Adapter. Raises ModelUnavailable if it is missing or belongs to other weights."""
    folder = models / f"{base_id}-ip-adapter"
    if not (folder / FACTS).is_file():
        raise ModelUnavailable("no_ip_adapter", model=folder.name)
    require_base(folder, "unet", models / base_id / "unet")
    require_base(folder, "clip", models / CLIP)
    return folder


def _measured(studio: Studio, base_id: str, folder: Path, measure: Measure, case: Case, ask: Ask) -> list[ReportRow]:
    """All rows."""
    with studio.registry.lease(studio.registry.key(base_id)) as lease:
        defaults = studio.specs[base_id].defaults
        pictures = [Image.fromarray(render_image(scene, defaults.width)) for scene in case.references]
        embeddings = embeddings_of(studio.settings.models_dir / CLIP, pictures)
        view = referring_view(lease.components, folder, defaults)
        plain = Painter(build_view(lease.components, PIPELINE, defaults.scheduler), defaults, ask.seed)
        painter = Painter(view, defaults, ask.seed, also=lambda places: told_to(embeddings, places))
        tallies = {}
        for scale in SCALES:
            view.set_ip_adapter_scale(scale)
            tallies[scale] = tally_told(painter, measure, case.scenes, case.told)
        part = case.part(max(1, len(case.scenes) // SHARE_FOR_BLOCKS))
        alone = {}
        for block in blocks_of(view.unet):
            act_in(view.unet, block)
            alone[block] = tally_told(painter, measure, part.scenes, part.told)
        view.set_ip_adapter_scale(0.0)
        none = tally_told(painter, measure, part.scenes, part.told)
        unlike = furthest(plain, painter, [text for text, _ in case.told[:BATCH]])
    rows = rows_of(tallies, case, measure.ceilings["style"], ask)
    rows += block_rows(alone, none, part, ask)
    return [*rows, ReportRow("levels off the base", unlike, "of 255", "scale 0", target=0, sense="lower")]


def referring_view(pristine: Any, folder: Path, defaults: Defaults) -> Any:
    """diffusers' own pipeline with the adapter that stock `load_ip_adapter` reads. It takes embeddings of one reference
    for each prompt, where the stock pipeline would show every prompt all of them."""

    def load(pipeline: Any) -> None:
        (weights,) = folder.glob("*.safetensors")
        pipeline.load_ip_adapter(str(folder), subfolder="", weight_name=weights.name, image_encoder_folder=None)

    view = adapted_view(pristine, defaults.scheduler, load)
    view.prepare_ip_adapter_image_embeds = lambda image, embeddings, device, count, guided: [
        one.to(device, view.unet.dtype) for one in embeddings
    ]
    return view


def blocks_of(unet: Any) -> list[str]:
    """The blocks with cross-attentions, in the UNet's order, such as up_blocks.1."""
    return list(dict.fromkeys(name.partition(".attentions")[0] for name in _processors(unet)))


def act_in(unet: Any, block: str) -> None:
    """Let the references act at the default scale in one block and nowhere else."""
    for name, processor in _processors(unet).items():
        processor.scale = [DEFAULT_SCALE if name.partition(".attentions")[0] == block else 0.0]


def _processors(unet: Any) -> dict[str, Any]:
    """Those that read references, by name."""
    return {name: one for name, one in unet.attn_processors.items() if hasattr(one, "to_k_ip")}


def told_to(embeddings: Tensor, places: range) -> Mapping[str, Any]:
    """What a call gets for the pictures at these places: no reference for the empty prompts, theirs for the others."""
    own = embeddings[places.start : places.stop, None]
    return {"ip_adapter_image_embeds": [torch.cat([torch.zeros_like(own), own])]}


@torch.inference_mode()
def embeddings_of(clip_folder: Path, pictures: Sequence[Image.Image]) -> Tensor:
    """(N, D) of the image tower."""
    clip = CLIPModel.from_pretrained(clip_folder, dtype=torch.float32).eval()
    processor, found = CLIPImageProcessor.from_pretrained(clip_folder), []
    for start in range(0, len(pictures), BATCH):
        pixels = processor(images=list(pictures[start : start + BATCH]), return_tensors="pt")["pixel_values"]
        found.append(clip.visual_projection(clip.vision_model(pixels).pooler_output))
    return torch.cat(found)


def furthest(one: Painter, other: Painter, prompts: Sequence[str]) -> int:
    """The largest difference of a level between two painters' pictures, 0 to 255."""
    drawn = [
        np.stack([np.asarray(picture, np.int16) for _, batch in painter.draw(prompts) for picture in batch])
        for painter in (one, other)
    ]
    return int(np.abs(drawn[0] - drawn[1]).max())


def rows_of(tallies: Mapping[float, Tally], case: Case, ceiling: float, ask: Ask) -> list[ReportRow]:
    """Style and prompt at the default scale; then all at every scale, with the leak's target at the default one."""
    without, default = tallies[0.0], tallies[DEFAULT_SCALE]
    where = f"scale {DEFAULT_SCALE:g}"
    low, high = style_interval(default)
    rows = [
        ReportRow(
            "style of the reference, of the ceiling",
            default.share("style") / ceiling,
            "share",
            where,
            low / ceiling,
            high / ceiling,
            baseline=without.share("style") / ceiling,
            target=STYLE_TARGETS.get(ask.preset),
        ),
        loss_row("prompt accuracy, without less with", where, default, without, MOST_PROMPT_LOSS.get(ask.preset)),
    ]
    for scale, tally in tallies.items():
        where = f"scale {scale:g}"
        low, high = style_interval(tally)
        rows.append(
            ReportRow("style of the reference", tally.share("style"), "share", where, low, high, ceiling=ceiling)
        )
        rows.append(accuracy_row("prompt accuracy", where, tally, without))
        most = MOST_LEAK.get(ask.preset) if scale == DEFAULT_SCALE else None
        rows += leak_rows(tally, without, case, where, ask, most)
    return rows


def block_rows(alone: Mapping[str, Tally], none: Tally, case: Case, ask: Ask) -> list[ReportRow]:
    """What each block does alone at the default scale, against none on the same noise."""
    rows = []
    for block, tally in alone.items():
        where = f"{block} alone"
        low, high = style_interval(tally)
        rows.append(ReportRow("style of the reference", tally.share("style"), "share", where, low, high,
                              baseline=none.share("style")))  # fmt: skip
        rows.append(accuracy_row("prompt accuracy", where, tally, none))
        rows += leak_rows(tally, none, case, where, ask, None)
    return rows


def style_interval(tally: Tally) -> tuple[float, float]:
    return wilson(tally.right.get("style", 0), tally.asked["style"])


def leak_rows(tally: Tally, without: Tally, case: Case, where: str, ask: Ask, target: float | None) -> list[ReportRow]:
    """How much oftener the reference's things are there than without it; no row where no reference has any to leak."""
    more = (strangers_seen(tally, case) - strangers_seen(without, case)).tolist()
    if not more:
        return []
    low, high = bootstrap_mean(more, ask.seed)
    return [ReportRow("leak", float(np.mean(more)), "share", where, low, high, target=target, sense="lower")]


def strangers_seen(tally: Tally, case: Case) -> np.ndarray:
    """For every thing, and person, that a reference shows and its prompt does not ask for: 1.0 if it is seen."""
    kinds, people = read(tally, "kinds"), read(tally, "person")
    found: list[bool] = []
    for place in range(len(case.scenes)):
        strange, person = case.strangers(place)
        found += [bool(kinds[place, ALL_KINDS.index(kind)] > 0) for kind in sorted(strange)]
        found += [bool(people[place] > 0)] if person else []
    return np.array(found, np.float64)
