"""An IP-Adapter for the little world: a picture tells the style, the prompt tells what is drawn.

Ye et al., 2308.06721. Only the projection of the picture's embedding and the new keys and values learn, with the
ordinary loss on a frozen base. The reference is another scene of the same style and the caption leaves the style out,
so that the style is all that the reference can tell, and all that it is needed for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedTokenizerFast

from studio.lineage import FACTS, weights_sha256
from studio.train.artefact import facts_of, write_facts, write_ledger_row
from studio.train.data import rendered_pictures
from studio.train.frozen import freeze, require_unchanged
from studio.train.latents import CAPTIONS, Latents, encoded_scenes
from studio.train.picture_prompt import FILE, PicturePrompt, prompted
from studio.train.places import MODELS
from studio.train.references import References, told_references
from studio.train.run import Options, Run, launch, warmup_cosine
from studio.train.samples import quiet_pipeline, sheet_of
from studio.train.tokenizer import encode, shared_tokenizer
from studio.train.unet import STRATA, Denoiser, build_scheduler, load_denoiser, sample_times, velocity_target
from studio.world.scene import FIRST_HELD_OUT_SEED
from studio.world.vocabulary import STYLES

USAGE = """\
image_encoder = CLIPVisionModelWithProjection.from_pretrained("models/little-world-clip", dtype=torch.float32)
feature_extractor = CLIPImageProcessor.from_pretrained("models/little-world-clip")
pipeline = StableDiffusionPipeline.from_pretrained(
    "models/little-world", image_encoder=image_encoder, feature_extractor=feature_extractor
)
pipeline.load_ip_adapter(
    "models/little-world-ip-adapter", subfolder="", weight_name="ip_adapter.safetensors", image_encoder_folder=None
)
picture = pipeline("a cat in a room", ip_adapter_image=reference).images[0]"""
SHEET_PROMPTS = ("a red car and a green tree in a meadow", "a cat in a room", "沙滩上的人挥手")


@dataclass(frozen=True)
class Preset:
    """scenes: how many are drawn; references: how many of them serve as reference; batch: over all processes;
    without_text, without_picture, without_both: shares of samples; held_out: scenes that measure (a multiple of
    STRATA, with two of every style)."""

    minutes: float
    scenes: int
    references: int
    batch: int
    learning_rate: float = 1e-3
    size: int = 128
    warmup_steps: int = 50
    flat_until: float = 0.4
    ema: float = 0.98
    without_text: float = 0.1
    without_picture: float = 0.05
    without_both: float = 0.1
    held_out: int = 256
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(
        minutes=1, scenes=48, references=48, batch=4, warmup_steps=2, ema=0.5, held_out=3 * STRATA, max_steps=4
    ),
    "cpu": Preset(minutes=12, scenes=16_000, references=4_000, batch=32),
    "gpu": Preset(minutes=2, scenes=20_000, references=8_000, batch=256, learning_rate=1.5e-3, ema=0.995),
}


@dataclass(frozen=True)
class Batch:
    """x0: (B, 4, h, w); t: (B,); tokens: (B, 64); embeddings: (B, D), zeros where the picture was left out."""

    x0: Tensor
    t: Tensor
    tokens: Tensor
    embeddings: Tensor


def draw(
    data: Latents, references: References, preset: Preset, batch: int, empty: np.ndarray, rng: np.random.Generator
) -> Batch:
    """Random scenes, each with another one's picture; text, picture or both left out now and then."""
    picks = np.sort(rng.integers(len(references.styles), size=batch))
    tokens = references.tokens[picks, rng.integers(CAPTIONS, size=batch)].astype(np.int64)
    embeddings = references.embeddings[references.partners(picks, rng)]
    tokens, embeddings = left_out(tokens, embeddings, empty, preset, rng.random(batch))
    x0 = torch.from_numpy(data.latents[picks].astype(np.float32))
    times = torch.from_numpy(sample_times(batch, rng))
    return Batch(x0, times, torch.from_numpy(tokens), torch.from_numpy(embeddings))


def left_out(
    tokens: np.ndarray, embeddings: np.ndarray, empty: np.ndarray, preset: Preset, chance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """tokens (B, 64) and embeddings (B, D) with some emptied; chance: (B,) in [0, 1), says which."""
    both = chance < preset.without_both
    text = (chance >= preset.without_both) & (chance < preset.without_both + preset.without_text)
    picture = chance >= 1 - preset.without_picture
    kept = np.where((both | text)[:, None], empty, tokens)
    return kept, np.where((both | picture)[:, None], np.float32(0), embeddings)


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("ip-adapter", rank, processes, options, preset.minutes, preset.max_steps)
    folder, clip = folders(options)
    rng = np.random.default_rng((options.seed, rank, 8))
    tokenizer = shared_tokenizer(run, folder)
    data = encoded_scenes(run, folder / "vae", tokenizer, 0, preset.scenes, preset.size)
    references = told_references(run, clip, tokenizer, 0, preset.scenes, preset.references, preset.size)
    held_out = held_out_scenes(run, preset, folder, clip, tokenizer)
    empty = encode(tokenizer, [""])[0]

    torch.manual_seed(options.seed)
    base = load_denoiser(folder).to(run.device)
    before = freeze(base)
    adapter = PicturePrompt(base.unet, references.embeddings.shape[1]).to(run.device)
    if options.init_from is not None:
        adapter.load(options.init_from / FILE)
    parameters = list(adapter.parameters())
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    average = AveragedModel(adapter, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    parts: dict[str, Any] = {"adapter": adapter, "average": average, "optimizer": optimizer}
    run.resume(parts)
    alpha_bar = build_scheduler().alphas_cumprod.to(run.device)
    run.begin(parameters, preset)

    with adapter.on(base.unet):
        while not run.finished:
            batch = draw(data, references, preset, max(1, preset.batch // processes), empty, rng)
            x0, t, tokens, told = (a.to(run.device) for a in (batch.x0, batch.t, batch.tokens, batch.embeddings))
            xt, v = velocity_target(x0, torch.randn_like(x0), alpha_bar[t])
            with run.autocast():
                predicted = prompted(base, xt, t, tokens, told)
            loss = (predicted.float() - v).square().mean()
            loss.backward()
            run.average_gradients(parameters)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            factor = warmup_cosine(run.fraction, run.step, preset.warmup_steps, preset.flat_until)
            optimizer.param_groups[0]["lr"] = factor * preset.learning_rate
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(adapter)
            run.log(loss=float(loss.detach()))
            if run.checkpoint_due():
                run.save(parts)

    run.save(parts)
    require_unchanged(base, before)
    if rank == 0:
        finish(run, preset, cast(PicturePrompt, average.module), base, tokenizer, *held_out)
    run.barrier()
    run.close()


def folders(options: Options) -> tuple[Path, Path]:
    """The base's folder and that of the image tower."""
    if options.out:
        return options.out, options.out / "clip"
    return MODELS / "little-world", MODELS / "little-world-clip"


def held_out_scenes(
    run: Run, preset: Preset, folder: Path, clip: Path, tokenizer: PreTrainedTokenizerFast
) -> tuple[Latents, References]:
    """Unseen scenes, and the same as references of each other. All processes ask for them at the same place."""
    count, first = preset.held_out, FIRST_HELD_OUT_SEED
    data = encoded_scenes(run, folder / "vae", tokenizer, first, count, preset.size)
    return data, told_references(run, clip, tokenizer, first, count, count, preset.size)


def finish(
    run: Run,
    preset: Preset,
    adapter: PicturePrompt,
    base: Denoiser,
    tokenizer: PreTrainedTokenizerFast,
    data: Latents,
    references: References,
) -> None:
    """Measure what is shipped, and write it with the hashes of what it builds on."""
    folder, clip = folders(run.options)
    target = folder / "ip-adapter" if run.options.out else MODELS / "little-world-ip-adapter"
    adapter.save(target / FILE)
    adapter.load(target / FILE)
    with adapter.on(base.unet):
        metrics = held_out_losses(base, data, references, run)
        save_sheet(run, base, folder / "vae", tokenizer, references, preset.size)
    builds_on = {"unet": weights_sha256(folder / "unet"), "clip": weights_sha256(clip)}
    facts = facts_of(run, asdict(preset), metrics, builds_on, weights_sha256(target), usage=USAGE)
    write_facts(facts, target / FACTS, target / "README.md")
    write_ledger_row(run, "little-world-ip-adapter", target, metrics)
    run.say(f"{metrics}")


def held_out_batches(data: Latents, references: References) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """Unseen scenes by the STRATA with stratified times, their noise, and embeddings of some other style."""
    generator, rng = torch.Generator().manual_seed(5), np.random.default_rng(5)
    t = ((torch.arange(STRATA) + 0.5) * 1000 / STRATA).long()
    for start in range(0, len(references.styles) - STRATA + 1, STRATA):
        picks = np.arange(start, start + STRATA)
        x0 = torch.from_numpy(data.latents[picks].astype(np.float32))
        wrong = [rng.choice(np.flatnonzero(references.styles != references.styles[pick])) for pick in picks]
        right = torch.from_numpy(references.embeddings[references.partners(picks, rng)])
        tokens = torch.from_numpy(references.tokens[picks, 0].astype(np.int64))
        eps = torch.randn(x0.shape, generator=generator)
        yield Batch(x0, t, tokens, right), eps, torch.from_numpy(references.embeddings[wrong])


@torch.no_grad()
def held_out_losses(base: Denoiser, data: Latents, references: References, run: Run) -> dict[str, float]:
    """Mean squared error of v on unseen scenes: with a reference of their style, without one, and with one of another
    style. An adapter hangs on the base's UNet."""
    alpha_bar = build_scheduler().alphas_cumprod
    found: dict[str, list[float]] = {"held_out_mse": [], "without_reference_mse": [], "other_style_mse": []}
    for batch, eps, wrong in held_out_batches(data, references):
        xt, v = velocity_target(batch.x0, eps, alpha_bar[batch.t])
        for errors, told in zip(found.values(), (batch.embeddings, torch.zeros_like(wrong), wrong), strict=True):
            predicted = prompted(base, *(a.to(run.device) for a in (xt, batch.t, batch.tokens, told)))
            errors.append(float((predicted.cpu() - v).square().mean()))
    return {name: round(float(np.mean(errors)), 4) for name, errors in found.items()}


@torch.no_grad()
def save_sheet(
    run: Run, base: Denoiser, vae_folder: Path, tokenizer: PreTrainedTokenizerFast, references: References, size: int
) -> Path:
    """A held-out reference of every style, and below it what prompts become with it; returns the sheet's path."""
    rows = [int(np.flatnonzero(references.styles == style)[0]) for style in range(len(STYLES))]
    pictures = rendered_pictures(FIRST_HELD_OUT_SEED, len(references.embeddings), size)
    sheet = [[Image.fromarray(np.array(pictures[row])) for row in rows]]
    pipeline = quiet_pipeline(
        vae=AutoencoderTiny.from_pretrained(vae_folder, dtype=torch.float32).to(run.device),
        text_encoder=base.text_encoder,
        tokenizer=tokenizer,
        unet=base.unet,
        scheduler=build_scheduler(),
    )
    for prompt in SHEET_PROMPTS:
        drawn = []
        for row in rows:
            told = torch.from_numpy(references.embeddings[row]).to(run.device)[None, None]
            settings = {"height": size, "width": size, "num_inference_steps": 8, "guidance_scale": 4.0}
            told = torch.cat([torch.zeros_like(told), told])
            drawn += pipeline(
                prompt, ip_adapter_image_embeds=[told], generator=torch.Generator().manual_seed(1), **settings
            ).images
        sheet.append(drawn)
    path = run.folder / f"samples-{run.step:06d}.png"
    sheet_of(sheet).save(path)
    return path


def main(options: Options) -> None:
    launch(worker, options)
