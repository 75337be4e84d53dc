"""A few-step LoRA: with it four calls of the UNet draw what takes the base forty.

Progressive distillation (Salimans & Ho, 2202.00512) of a guided model (Meng et al., 2210.03142), all at once: where the
teacher takes some guided DDIM steps, the student learns to get in one without guidance. It learns on the path that its
own steps take from pure noise, so that each mends what those before it did; that needs prompts, and no picture.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from studio.diffusion.distillation import Angles, between, trailing
from studio.diffusion.lora_keys import INFERENCE_GUIDANCE, INFERENCE_SAMPLER, INFERENCE_STEPS
from studio.errors import StudioError
from studio.train.frozen import freeze, require_unchanged
from studio.train.lessons import tokens_of
from studio.train.lora import shared, write_lora
from studio.train.lora_steps import UNET_TARGETS, Learner, Recipe
from studio.train.places import MODELS
from studio.train.run import Options, Run, launch
from studio.train.samples import SAMPLE_PROMPTS, SIDE, quiet_pipeline, sheet_of
from studio.train.tokenizer import load_tokenizer
from studio.train.unet import Denoiser, build_scheduler, load_denoiser
from studio.world.caption import caption
from studio.world.lexicon import LANGUAGES
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

NAME = "few_step"
STEPS, GUIDANCE = 4, 4.0
"""Of the student, and of the teacher."""
STUDENT_TARGETS = (*UNET_TARGETS, "proj_in", "proj_out", "time_emb_proj", "conv_shortcut", "conv")
USAGE = f"""from diffusers import DDIMScheduler, StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained("models/little-world")
pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
pipeline.load_lora_weights("models/little-world/loras", weight_name="{NAME}.safetensors")
pipeline("a red car in a meadow", height=128, width=128, num_inference_steps={STEPS}, guidance_scale=1.0)"""


def recipe_of(rank: int, batch: int, learning_rate: float = 2e-3, warmup_steps: int = 20) -> Recipe:
    """The student learns from its teacher alone: no prompt is dropped, and nothing else is shown."""
    return Recipe(rank, rank, batch, learning_rate, warmup_steps, prompt_dropout=0.0, prior_share=0.0)


@dataclass(frozen=True)
class Preset:
    """recipe.batch: paths of one training step; substeps: of the teacher, for one of the student; held_out: prompts
    whose paths measure."""

    minutes: float
    recipe: Recipe
    substeps: int = 4
    size: int = 128
    held_out: int = 64
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, recipe=recipe_of(2, 2, warmup_steps=2), substeps=2, held_out=2, max_steps=3),
    "cpu": Preset(minutes=45, recipe=recipe_of(10, 8)),
    "gpu": Preset(minutes=8, recipe=recipe_of(10, 128), held_out=256),
}


class Student(Learner):
    """A LoRA on the UNet of a base, taught by a copy of it."""

    def __init__(self, base: Denoiser, preset: Preset, recipe: Recipe, empty: Tensor, seed: int) -> None:
        """empty: (L,) tokens of no prompt."""
        self._teacher = copy.deepcopy(base.unet)
        super().__init__(base.unet, base.text_encoder, build_scheduler(), recipe, seed, {"unet": STUDENT_TARGETS})
        self._empty, self._substeps = empty.to(self.device), preset.substeps
        self._angles = Angles(self._alpha_bar)

    def path_loss(self, noise: Tensor, tokens: Tensor) -> Tensor:
        """Mean squared error of v over the steps of the student's own path. noise: (B, C, h, w); tokens: (B, L)."""
        x, contexts = noise.to(self.device), self._contexts(tokens)
        errors = []
        for now, then in pairwise(trailing(STEPS)):
            target = self._angles.velocity(x, self._guided(x, contexts, between(now, then, self._substeps)), now, then)
            v = self._call(self.parts["unet"], x, now, contexts[len(x) :])
            errors.append((v - target).square().mean())
            x = self._angles.step(x, v.detach(), now, then)
        return torch.stack(errors).mean()

    @torch.no_grad()
    def path(self, noise: Tensor, tokens: Tensor) -> Tensor:
        """Where the student's four steps lead."""
        x, contexts = noise.to(self.device), self._contexts(tokens)
        for now, then in pairwise(trailing(STEPS)):
            x = self._angles.step(x, self._call(self.parts["unet"], x, now, contexts[len(x) :]), now, then)
        return x

    def guided_path(self, noise: Tensor, tokens: Tensor, steps: int) -> Tensor:
        """Where so many guided steps of the teacher lead."""
        return self._guided(noise.to(self.device), self._contexts(tokens), trailing(steps))

    @torch.no_grad()
    def _guided(self, x: Tensor, contexts: Tensor, times: Sequence[int]) -> Tensor:
        for now, then in pairwise(times):
            without, with_prompt = self._call(self._teacher, torch.cat([x, x]), now, contexts).chunk(2)
            x = self._angles.step(x, without + GUIDANCE * (with_prompt - without), now, then)
        return x

    @torch.no_grad()
    def _contexts(self, tokens: Tensor) -> Tensor:
        """(2 B, L, D): what the text encoder makes of no prompt and of the prompts (B, L)."""
        both = torch.cat([self._empty.expand(len(tokens), -1), tokens.to(self.device)])
        with torch.autocast(self.device.type, torch.bfloat16):
            context: Tensor = self.parts["text_encoder"](both).last_hidden_state
        return context

    def _call(self, unet: Any, x: Tensor, t: int, context: Tensor) -> Tensor:
        times = torch.full((len(x),), t, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            v: Tensor = unet(x, times, context, return_dict=False)[0]
        return v.float()


def prompts(first: int, count: int) -> list[str]:
    """Captions of scenes, complete ones and shorter ones, in both languages by turns."""
    texts = []
    for seed in range(first, first + count):
        rng = np.random.default_rng((seed, 13))
        texts.append(caption(scene_of_seed(seed), rng, LANGUAGES[seed % len(LANGUAGES)], bool(rng.random() < 0.5)))
    return texts


def first_prompt(seed: int, step: int, rank: int, processes: int, batch: int) -> int:
    """The scene from which a process's prompts of a step are counted, and the seed of its noise: no other step and no
    other process has them, and none is held out."""
    return ((seed * 1_000_000 + step) * processes + rank) * batch % (FIRST_HELD_OUT_SEED - batch)


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("few-step", rank, processes, options, preset.minutes, preset.max_steps)
    folder = options.out or MODELS / "little-world"
    tokenizer = load_tokenizer(folder / "tokenizer")
    vae = AutoencoderTiny.from_pretrained(folder / "vae", dtype=torch.float32).to(run.device)
    base = load_denoiser(folder).to(run.device)
    before = freeze(base)
    recipe = shared(preset.recipe, processes)
    student = Student(base, preset, recipe, tokens_of(tokenizer, [""])[0], options.seed)
    run.resume({"learner": student})
    run.begin(student.parameters, preset)

    shape = (recipe.batch, 4, preset.size // 8, preset.size // 8)
    while not run.finished:
        first = first_prompt(options.seed, run.step, rank, processes, recipe.batch)
        generator = torch.Generator().manual_seed(first)
        noise, tokens = torch.randn(shape, generator=generator), tokens_of(tokenizer, prompts(first, recipe.batch))
        loss, _ = student.step(student.path_loss(noise, tokens), run.average_gradients)
        run.log(loss=loss)
        if run.checkpoint_due():
            run.save({"learner": student})
            save_sheet(student, vae, tokenizer, run)

    run.save({"learner": student})
    if rank == 0:
        finish(run, preset, student, tokenizer)
        save_sheet(student, vae, tokenizer, run)
    student.detach()
    require_unchanged(base, before)
    run.barrier()
    run.close()


@torch.no_grad()
def save_sheet(student: Student, vae: Any, tokenizer: PreTrainedTokenizerFast, run: Run) -> None:
    """The sample prompts as the student draws them now."""
    pipeline = quiet_pipeline(**student.parts, vae=vae, tokenizer=tokenizer, scheduler=build_scheduler())
    generators = [torch.Generator().manual_seed(1) for _ in SAMPLE_PROMPTS]
    with run.autocast():
        images = pipeline(
            list(SAMPLE_PROMPTS),
            height=SIDE,
            width=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            generator=generators,
        ).images
    sheet_of([images]).save(run.folder / f"samples-{run.step:06d}.png")


def finish(run: Run, preset: Preset, student: Student, tokenizer: PreTrainedTokenizerFast) -> None:
    """Measure, and write the file with its facts and its card beside it."""
    student.round()
    tokens = tokens_of(tokenizer, prompts(FIRST_HELD_OUT_SEED, preset.held_out))
    side = preset.size // 8
    noise = torch.randn(preset.held_out, 4, side, side, generator=torch.Generator().manual_seed(5))
    metrics = distances(student, noise, tokens, preset.substeps)
    header = {INFERENCE_SAMPLER: "ddim", INFERENCE_STEPS: str(STEPS), INFERENCE_GUIDANCE: "1"}
    data = "prompts of scenes that the studio makes up itself (`studio/world`; no other data)"
    write_lora(run, NAME, student, asdict(preset), metrics, header, data=data, usage=USAGE)


def distances(student: Student, noise: Tensor, tokens: Tensor, substeps: int) -> dict[str, float]:
    """Mean squared distance of finished latents from those of the teacher's many guided steps: the student's four
    without guidance, and for comparison four guided ones of the base."""
    far = student.guided_path(noise, tokens, STEPS * substeps)
    paths = {"student_mse": student.path(noise, tokens), "base_mse": student.guided_path(noise, tokens, STEPS)}
    return {name: round(float((x - far).square().mean()), 4) for name, x in paths.items()}


def main(options: Options) -> None:
    if options.init_from is not None:
        raise StudioError("option_not_taken", name="few-step", option="--init-from")
    launch(worker, options)
