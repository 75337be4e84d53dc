"""Text encoder and UNet of the little world, trained together as a latent diffusion model.

v-prediction (Salimans & Ho, 2202.00512) on a schedule with zero terminal SNR (Lin et al., 2305.08891, section 3.1),
so that the first step of sampling really starts from pure noise and dark or white pictures come out right. The loss
weighs cells that things and people cover more, since a plain mean is dominated by skies; the first stretch shows
only scenes with one entity.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPTextConfig, CLIPTextModel

from studio.train.artefact import latents_sha256, save_component, weights_sha256, write_ledger_row
from studio.train.latents import CAPTIONS, Latents, encoded_scenes
from studio.train.muon import MuonWithAdamW
from studio.train.places import MODELS
from studio.train.run import Options, Run, launch, warmup_cosine
from studio.train.samples import save_sample_sheet, write_pipeline
from studio.train.tokenizer import MAX_TOKENS, VOCABULARY, encode, shared_tokenizer
from studio.world.scene import FIRST_HELD_OUT_SEED

TEXT_WIDTH, TEXT_LAYERS = 192, 3
WIDTHS = (96, 160, 192)
STRATA = 16  # times of the held-out loss; a number of held-out scenes is a multiple of it


@dataclass(frozen=True)
class Preset:
    """scenes: how many are encoded; batch: over all processes; cover_weight: extra weight of a covered cell;
    single_until: until this fraction of the budget only scenes with one entity are seen."""

    minutes: float
    scenes: int
    batch: int
    learning_rate: float
    muon_rate: float = 0.01
    size: int = 128
    warmup_steps: int = 100
    flat_until: float = 0.45
    ema: float = 0.998
    cover_weight: float = 2.0
    single_until: float = 0.12
    condition_dropout: float = 0.1
    held_out: int = 1_024
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(
        minutes=1, scenes=64, batch=4, learning_rate=1e-3, warmup_steps=2, ema=0.5, held_out=16, max_steps=4
    ),
    "cpu": Preset(minutes=80, scenes=60_000, batch=48, learning_rate=1e-3),
    "gpu": Preset(minutes=11, scenes=250_000, batch=512, learning_rate=1.5e-3, warmup_steps=200, ema=0.9995),
}


class Denoiser(torch.nn.Module):
    """Text encoder and UNet as one network: tokens, noisy latents and time to v."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder, self.unet = text_encoder, unet

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """x: (B, 4, h, w); t: (B,) int64; tokens: (B, 64) int64; returns v (B, 4, h, w)."""
        context = self.text_encoder(tokens).last_hidden_state
        return self.unet(x, t, context, return_dict=False)[0]


def build_denoiser() -> Denoiser:
    text = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=TEXT_WIDTH,
        intermediate_size=512,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=TEXT_WIDTH // 32,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=TEXT_WIDTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=tuple(width // 32 for width in WIDTHS),  # diffusers' name for the number of heads
        norm_num_groups=32,
    )
    return Denoiser(CLIPTextModel(text), unet)


def load_denoiser(folder: Path) -> Denoiser:
    return Denoiser(
        CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32),
        UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32),
    )


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def sample_times(batch: int, rng: np.random.Generator) -> np.ndarray:
    """(batch,) int64 in [0, 1000): half stratified uniform, half logit-normal around the times that decide shapes."""
    uniform = (rng.permutation(batch) + rng.random(batch)) / batch
    centred = 1 / (1 + np.exp(-rng.normal(0.4, 1.0, batch)))
    return np.minimum(999, np.where(rng.random(batch) < 0.5, uniform, centred) * 1000).astype(np.int64)


def velocity_target(x0: Tensor, eps: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """x_t = sqrt(a) x_0 + sqrt(1 - a) eps and v = sqrt(a) eps - sqrt(1 - a) x_0   (2202.00512, section 4).

    x0, eps: (B, C, h, w); alpha_bar: (B,); returns x_t and v, each (B, C, h, w).
    """
    signal, noise = alpha_bar.sqrt().view(-1, 1, 1, 1), (1 - alpha_bar).sqrt().view(-1, 1, 1, 1)
    return signal * x0 + noise * eps, signal * eps - noise * x0


def draw_batch(
    data: Latents, picks: np.ndarray, empty: np.ndarray, dropout: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, 4, h, w), tokens (B, 64) with some prompts emptied, covers (B, 1, h, w) in [0, 1]."""
    tokens = data.tokens[picks, rng.integers(CAPTIONS, size=len(picks))].astype(np.int64)
    tokens[rng.random(len(picks)) < dropout] = empty
    covers = torch.from_numpy(data.covers[picks].astype(np.float32) / 255)[:, None]
    return torch.from_numpy(data.latents[picks].astype(np.float32)), torch.from_numpy(tokens), covers


def hidden_of(model: Denoiser) -> list[torch.nn.Parameter]:
    """The hidden matrices and kernels: all but the first and last layers, embeddings, norms and biases."""
    ends = {model.unet.conv_in.weight, model.unet.conv_out.weight}
    ends |= {p for module in model.modules() if isinstance(module, torch.nn.Embedding) for p in module.parameters()}
    return [p for p in model.parameters() if p.ndim > 1 and p not in ends]


def covered_mean(error: Tensor, covers: Tensor, weight: float) -> Tensor:
    """Mean of error (B, C, h, w) in which a cell that covers (B, 1, h, w) cover fully counts 1 + weight times."""
    return (error * (1 + weight * covers)).mean() / (1 + weight * covers.mean())


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("unet", rank, processes, options, preset.minutes, preset.max_steps)
    base = options.out or MODELS / "little-world"
    rng = np.random.default_rng((options.seed, rank, 2))

    tokenizer = shared_tokenizer(run, base)
    data = encoded_scenes(run, base / "vae", tokenizer, 0, preset.scenes, preset.size)
    held_out = encoded_scenes(run, base / "vae", tokenizer, FIRST_HELD_OUT_SEED, preset.held_out, preset.size)
    singles = np.flatnonzero(np.asarray(data.entities) == 1)
    empty = encode(tokenizer, [""])[0]

    torch.manual_seed(options.seed)
    model = (load_denoiser(options.init_from) if options.init_from else build_denoiser()).to(run.device)
    if run.device.type == "cpu":
        model.unet.set_attn_processor(AttnProcessor())  # its backward pass is faster than the fused one's on a CPU
    parameters = list(model.parameters())
    optimizer = MuonWithAdamW(model, hidden_of(model), preset.muon_rate, preset.learning_rate)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    parts: dict[str, Any] = {"model": model, "average": average, "optimizer": optimizer}
    run.resume(parts)
    alpha_bar = build_scheduler().alphas_cumprod.to(run.device)
    run.begin(parameters, preset)

    while not run.finished:
        count = max(1, preset.batch // processes)
        early = run.fraction < preset.single_until and options.init_from is None
        picks = np.sort(rng.choice(singles, count) if early else rng.integers(preset.scenes, size=count))
        x0, tokens, covers = (a.to(run.device) for a in draw_batch(data, picks, empty, preset.condition_dropout, rng))
        t = torch.from_numpy(sample_times(count, rng)).to(run.device)
        xt, v = velocity_target(x0, torch.randn_like(x0), alpha_bar[t])
        with run.autocast():
            predicted = model(xt, t, tokens)
        error = (predicted.float() - v).square()
        loss = covered_mean(error, covers, preset.cover_weight)
        loss.backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(warmup_cosine(run.fraction, run.step, preset.warmup_steps, preset.flat_until))
        average.update_parameters(model)
        run.log(loss=float(loss.detach()), plain_mse=float(error.detach().mean()))
        if run.checkpoint_due():
            run.save(parts)
        if run.samples_due():
            save_sample_sheet(average.module, base / "vae", tokenizer, build_scheduler(), run)

    run.save(parts)
    if rank == 0:
        finish(run, preset, cast(Denoiser, average.module.to("cpu")), base, held_out)
    run.barrier()
    run.close()


@torch.no_grad()
def held_out_loss(model: Denoiser, data: Latents) -> float:
    """Mean squared error of v on unseen scenes, stratified times, fixed noise, on the CPU: comparable between runs."""
    rng, generator = np.random.default_rng(5), torch.Generator().manual_seed(5)
    alpha_bar, count, total = build_scheduler().alphas_cumprod, len(data.entities), 0.0
    t = ((torch.arange(STRATA) + 0.5) * 1000 / STRATA).long()
    for start in range(0, count, STRATA):
        picks = np.arange(start, start + STRATA)
        x0, tokens, _ = draw_batch(data, picks, np.zeros(MAX_TOKENS), 0.0, rng)
        xt, v = velocity_target(x0, torch.randn(x0.shape, generator=generator), alpha_bar[t])
        total += float((model(xt, t, tokens) - v).square().mean()) * STRATA
    return total / count


def finish(run: Run, preset: Preset, model: Denoiser, base: Path, held_out: Latents) -> None:
    """Measure, and write text encoder, UNet, scheduler and the pipeline's index."""
    metrics = {"held_out_mse": round(held_out_loss(model, held_out), 4)}
    latents = latents_sha256(base / "vae")
    save_component(model.text_encoder, base / "text_encoder", run, asdict(preset), metrics, latents=latents)
    text_hash = weights_sha256(base / "text_encoder")
    save_component(model.unet, base / "unet", run, asdict(preset), metrics, latents=latents, text_encoder=text_hash)
    write_pipeline(base, build_scheduler())
    write_ledger_row(run, "little-world/unet", base / "unet", metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
