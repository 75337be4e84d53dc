"""A LoRA for the little world: a style, a thing or somebody that the base does not know.

It learns from a person's own folder of pictures, or from scenes of a reserved concept, which the base was never shown.
A share of every step shows ordinary scenes, so that what the base knows stays. The steps are those of `lora_steps`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from PIL.Image import Image
from transformers import PreTrainedTokenizerFast

from studio.errors import StudioError
from studio.lineage import file_sha256, weights_sha256
from studio.train.artefact import facts_of, latents_sha256, tell_ledger, write_facts
from studio.train.frozen import freeze, require_unchanged
from studio.train.lessons import Lessons, Told, checked_trigger, encoded, told_folder, told_scenes
from studio.train.lora_files import save_lora
from studio.train.lora_steps import Learner, Recipe, fixed_loss, lora_steps
from studio.train.places import MODELS
from studio.train.run import Options, Run, launch
from studio.train.samples import quiet_pipeline
from studio.train.tokenizer import load_tokenizer
from studio.train.unet import STRATA, build_scheduler, load_denoiser
from studio.world.concepts import CONCEPTS, concept_scene, trigger_of
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

FOLDER = "loras"


@dataclass(frozen=True)
class Preset:
    """scenes: of the concept, and as many ordinary ones, in each process; held_out: scenes that measure (a multiple of
    STRATA); sketch_every_seconds: between two pictures of what it can by now."""

    minutes: float
    scenes: int
    recipe: Recipe = field(default_factory=Recipe)
    size: int = 128
    held_out: int = 128
    sketch_every_seconds: float = 30.0
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(
        minutes=1, scenes=16, recipe=Recipe(rank=2, alpha=2, batch=4, warmup_steps=2), held_out=STRATA, max_steps=4
    ),
    "cpu": Preset(minutes=4, scenes=1_024),
    "gpu": Preset(minutes=1, scenes=4_096, recipe=Recipe(batch=128), sketch_every_seconds=15),
}


@dataclass(frozen=True)
class Subject:
    """What is learnt. name: of the file; concept: None for a folder of pictures."""

    name: str
    trigger: str
    concept: str | None
    images: Path | None

    @property
    def command(self) -> str:
        if self.concept:
            return f"lora --concept {self.concept}"
        return f'lora --images FOLDER --trigger "{self.trigger}"'

    @property
    def prompt(self) -> str:
        """What the pictures of progress are drawn from."""
        role = CONCEPTS.get(self.concept or "")
        if role == "style":
            return f"a cat in a room, {self.trigger}"
        return f"a red {self.trigger} in a meadow" if role == "kind" else f"{self.trigger} in a meadow"


def subject_of(options: Options) -> Subject:
    """What the command line asks for. Raises StudioError unless it is a concept, or a folder with its trigger; and for
    a trigger under whose name a concept's LoRA is kept."""
    given, folder = options.concept is not None, options.images is not None
    if given == folder or folder != (options.trigger is not None) or (given and options.concept not in CONCEPTS):
        raise StudioError("lora_subject")
    if options.concept is not None:
        return Subject(options.concept, trigger_of(options.concept), options.concept, None)
    trigger = checked_trigger(options.trigger or "")
    name = re.sub(r"\W+", "_", trigger).strip("_")
    if name in CONCEPTS:
        raise StudioError("lora_name_taken", name=name)
    return Subject(name, trigger, None, options.images)


def told_lessons(subject: Subject, preset: Preset, rank: int) -> Told:
    """All pictures of the folder, or this process's own scenes of the concept."""
    if subject.images is not None:
        return told_folder(subject.images, subject.trigger, preset.size)
    assert subject.concept is not None
    seeds = range(rank * preset.scenes, (rank + 1) * preset.scenes)
    return told_scenes((concept_scene(subject.concept, seed) for seed in seeds), preset.size, rank)


def worker(rank: int, processes: int, options: Options) -> None:
    preset, subject = PRESETS[options.preset], subject_of(options)
    run = Run(f"lora-{subject.name}", rank, processes, options, preset.minutes, preset.max_steps)
    folder = options.out or MODELS / "little-world"
    tokenizer = load_tokenizer(folder / "tokenizer")
    vae = AutoencoderTiny.from_pretrained(folder / "vae", dtype=torch.float32).to(run.device)
    lessons = encoded(told_lessons(subject, preset, rank), vae, tokenizer)
    ordinary = (scene_of_seed(seed) for seed in range(rank * preset.scenes, (rank + 1) * preset.scenes))
    prior = encoded(told_scenes(ordinary, preset.size, rank), vae, tokenizer)

    base = load_denoiser(folder).to(run.device)
    before = freeze(base)
    learner = Learner(base.unet, base.text_encoder, build_scheduler(), shared(preset.recipe, processes), options.seed)
    run.resume({"learner": learner})
    run.begin(learner.parameters, preset)

    def sketch() -> Image:
        return drawn(subject.prompt, learner, vae, tokenizer, preset.size)

    if not run.finished:
        steps = lora_steps(
            learner, lessons, run.average_gradients, tokenizer, prior,
            seed=options.seed * 1_000 + rank,
            sketch=None if rank else sketch,
            sketch_every_seconds=preset.sketch_every_seconds,
        )  # fmt: skip
        for progress in steps:
            run.log(loss=progress.loss)
            if progress.picture is not None:
                progress.picture.save(run.folder / f"samples-{progress.step:06d}.png")
            if run.checkpoint_due():
                run.save({"learner": learner})

    run.save({"learner": learner})
    if rank == 0:
        finish(run, preset, subject, learner, measured(subject, preset, lessons, vae, tokenizer))
    learner.detach()
    require_unchanged(base, before)
    run.barrier()
    run.close()


def shared(recipe: Recipe, processes: int) -> Recipe:
    """The recipe with one process's share of the batch."""
    return replace(recipe, batch=max(1, recipe.batch // processes))


def drawn(prompt: str, learner: Learner, vae: Any, tokenizer: PreTrainedTokenizerFast, size: int) -> Image:
    """A quick picture of what the LoRA can by now; always the same noise."""
    pipeline = quiet_pipeline(**learner.parts, vae=vae, tokenizer=tokenizer, scheduler=build_scheduler())
    with torch.no_grad(), torch.autocast(learner.device.type, torch.bfloat16):
        return pipeline(
            prompt,
            height=size,
            width=size,
            num_inference_steps=8,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(1),
        ).images[0]


def measured(
    subject: Subject, preset: Preset, lessons: Lessons, vae: Any, tokenizer: PreTrainedTokenizerFast
) -> tuple[str, Lessons]:
    """What the loss is told of: unseen scenes of a concept, or a person's pictures themselves."""
    if subject.concept is None:
        return "pictures", lessons
    seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + preset.held_out)
    told = told_scenes((concept_scene(subject.concept, seed) for seed in seeds), preset.size, 0)
    return "held_out", encoded(told, vae, tokenizer)


def finish(run: Run, preset: Preset, subject: Subject, learner: Learner, measure: tuple[str, Lessons]) -> None:
    """Measure, and write the file with its facts and its card beside it."""
    name, lessons = measure
    learner.round()
    with learner.switched_off():
        without = fixed_loss(learner, lessons)
    metrics = {f"{name}_mse": round(fixed_loss(learner, lessons), 4), "without_lora_mse": round(without, 4)}
    header, told = {"trigger": subject.trigger}, told_of(subject, lessons, run)
    in_ledger = subject.concept is not None
    write_lora(run, subject.name, learner, asdict(preset), metrics, header, in_ledger, **told)


def write_lora(
    run: Run,
    name: str,
    learner: Learner,
    preset: dict[str, Any],
    metrics: dict[str, Any],
    header: Mapping[str, str],
    in_ledger: bool = True,
    **told: Any,
) -> None:
    """Write what was learnt as a file on the base's shelf, with its facts, its card and its row in the ledger.

    preset: its values, the size of a picture among them; header: what the file says beside its base and its training;
    told: as `facts_of` takes more.
    """
    folder = run.options.out or MODELS / "little-world"
    target = folder / FOLDER / f"{name}.safetensors"
    builds_on = {
        "unet": weights_sha256(folder / "unet"),
        "text_encoder": weights_sha256(folder / "text_encoder"),
        "latents": latents_sha256(folder / "vae"),
    }
    said = {
        "base": "little-world",
        "base_sha256": builds_on["unet"],
        "resolution": "{size}x{size}".format(**preset),
        "steps": str(run.step),
        **header,
    }
    recipe = learner.recipe
    save_lora(target, learner.weights(), recipe.rank, recipe.alpha, run.options.file_format, said)
    facts = facts_of(run, preset, metrics, builds_on, file_sha256(target), **told)
    write_facts(facts, target.with_suffix(".json"), target.with_suffix(".md"))
    if in_ledger:
        tell_ledger(run, f"little-world/{FOLDER}/{name}", facts["sha256"], metrics, builds_on)
    run.say(f"{metrics}, {target.stat().st_size / 1e6:.2f} MB")


def told_of(subject: Subject, lessons: Lessons, run: Run) -> dict[str, Any]:
    """What a card says of a LoRA beside its numbers."""
    command = subject.command + (" --format kohya" if run.options.file_format == "kohya" else "")
    told = {"command": command, "trigger": subject.trigger, "format": run.options.file_format}
    if subject.concept:
        return {**told, "concept": subject.concept}
    return {**told, "data": f"{len(lessons)} pictures of a folder", "license": None}


def main(options: Options) -> None:
    subject_of(options)
    if options.init_from is not None:
        raise StudioError("option_not_taken", name="lora", option="--init-from")
    launch(worker, options)
