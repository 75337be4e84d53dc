"""A small CLIP of the world: a text tower and an image tower that agree (Radford et al., 2103.00020, section 2.3).

Its score measures pictures, and its image tower serves adapters that take a picture as prompt. It shares the
tokenizer of the base.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from studio.train.artefact import save_component, weights_sha256, write_ledger_row
from studio.train.data import rendered_pictures
from studio.train.muon import MuonWithAdamW
from studio.train.pictures import to_unit
from studio.train.run import MODELS, Options, Run, launch, warmup_cosine
from studio.train.tokenizer import MAX_TOKENS, VOCABULARY, encode, shared_tokenizer
from studio.world.caption import caption
from studio.world.lexicon import LANGUAGES
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

WIDTH, PROJECTION, SIDE, PATCH = 192, 128, 128, 16


@dataclass(frozen=True)
class Preset:
    """batch: over all processes; each process contrasts its own share."""

    minutes: float
    pictures: int
    batch: int
    learning_rate: float
    muon_rate: float = 0.01
    ema: float = 0.99
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=64, batch=8, learning_rate=1e-3, ema=0.5, max_steps=3),
    "cpu": Preset(minutes=10, pictures=16_000, batch=192, learning_rate=1e-3),
    "gpu": Preset(minutes=3, pictures=60_000, batch=1_024, learning_rate=1.5e-3),
}


def build_clip() -> CLIPModel:
    """Each tower's config says how wide the common space is, so that stock transformers can load it alone."""
    text = {
        "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 512, "num_hidden_layers": 3,
        "num_attention_heads": 6, "max_position_embeddings": MAX_TOKENS, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 1, "projection_dim": PROJECTION,
    }  # fmt: skip
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6,
        "image_size": SIDE, "patch_size": PATCH, "projection_dim": PROJECTION,
    }  # fmt: skip
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION))


def image_processor() -> CLIPImageProcessor:
    """Pictures to (3, 128, 128) in [-1, 1]."""
    side = {"height": SIDE, "width": SIDE}
    return CLIPImageProcessor(
        size=side, crop_size=side, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross entropy over a batch of pairs; image, text: (B, D) of unit length."""
    logits = scale * image @ text.T
    targets = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def embed(clip: CLIPModel, pictures: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (B, D) of pictures (B, 3, 128, 128) in [-1, 1] and of tokens (B, 64)."""
    output = clip(input_ids=tokens, pixel_values=pictures)
    return output.image_embeds, output.text_embeds


def tokens_of(first_seed: int, count: int, tokenizer: object) -> np.ndarray:
    """(count, 2, 64) int16: a complete caption of each scene in each language."""
    texts = []
    for seed in range(first_seed, first_seed + count):
        scene, rng = scene_of_seed(seed), np.random.default_rng((seed, 6))
        texts += [caption(scene, rng, language, complete=True) for language in LANGUAGES]
    return encode(tokenizer, texts).reshape(count, len(LANGUAGES), MAX_TOKENS).astype(np.int16)


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("clip", rank, processes, options, preset.minutes, preset.max_steps)
    base = options.out or MODELS / "little-world"
    rng = np.random.default_rng((options.seed, rank, 6))
    if rank == 0:
        rendered_pictures(0, preset.pictures, SIDE)
    tokenizer = shared_tokenizer(run, base)
    pictures = rendered_pictures(0, preset.pictures, SIDE)
    tokens = tokens_of(0, preset.pictures, tokenizer)

    torch.manual_seed(options.seed)
    clip = CLIPModel.from_pretrained(options.init_from, dtype=torch.float32) if options.init_from else build_clip()
    clip = clip.to(run.device).train()
    parameters = list(clip.parameters())
    hidden = [p for name, p in clip.named_parameters() if p.ndim == 2 and "embed" not in name]
    optimizer = MuonWithAdamW(clip, hidden, preset.muon_rate, preset.learning_rate)
    average = AveragedModel(clip, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    parts = {"clip": clip, "average": average, "optimizer": optimizer}
    run.resume(parts)
    run.begin(parameters, preset)

    while not run.finished:
        picks = np.sort(rng.choice(preset.pictures, max(2, preset.batch // processes), replace=False))
        chosen = tokens[picks, rng.integers(len(LANGUAGES), size=len(picks))].astype(np.int64)
        x = to_unit(pictures[picks]).to(run.device)
        with run.autocast():
            image, text = embed(clip, x, torch.from_numpy(chosen).to(run.device))
        loss = contrastive_loss(image.float(), text.float(), clip.logit_scale.exp().clamp(max=100))
        loss.backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(warmup_cosine(run.fraction, run.step, 30, 0.3))
        average.update_parameters(clip)
        run.log(loss=float(loss.detach()))
        if run.checkpoint_due():
            run.save(parts)

    if rank == 0:
        finish(run, preset, average.module.to("cpu").eval(), tokenizer)
    run.barrier()
    run.close()


@torch.no_grad()
def retrieval(clip: CLIPModel, tokenizer: object, count: int) -> dict[str, float]:
    """Share of held-out pictures that find their own caption among 64, and mean cosine of true pairs, by language."""
    pictures = to_unit(rendered_pictures(FIRST_HELD_OUT_SEED, count, SIDE))
    tokens = torch.from_numpy(tokens_of(FIRST_HELD_OUT_SEED, count, tokenizer).astype(np.int64))
    found: dict[str, float] = {}
    for number, language in enumerate(LANGUAGES):
        right, cosine = 0.0, 0.0
        for start in range(0, count, 64):
            image, text = embed(clip, pictures[start : start + 64], tokens[start : start + 64, number])
            logits = image @ text.T
            right += float((logits.argmax(1) == torch.arange(len(logits))).sum())
            cosine += float(logits.diagonal().sum())
        found[f"top1_of_64_{language}"] = round(right / count, 4)
        found[f"cosine_{language}"] = round(cosine / count, 4)
    return found


def finish(run: Run, preset: Preset, clip: CLIPModel, tokenizer: object) -> None:
    """Measure and write both towers, their tokenizer and the image processor."""
    folder = (run.options.out / "clip") if run.options.out else MODELS / "little-world-clip"
    metrics = retrieval(clip, tokenizer, 64 if preset.max_steps else 1_024)
    save_component(clip, folder, run, asdict(preset), metrics)
    tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    image_processor().save_pretrained(folder)
    write_ledger_row(run, "little-world-clip", folder, metrics)
    run.say(f"{metrics}, {weights_sha256(folder)[:12]}")


def main(options: Options) -> None:
    launch(worker, options)
