"""A ControlNet for the little world: it steers the frozen base by edges, by nearness or by a skeleton.

Zhang et al., 2302.05543: a copy of the UNet's encoder reads the map and adds residuals through convolutions that start
at zero. It learns from the world's exact maps, spoilt as people's maps are (see `hints`), and often without a prompt,
so that the map has to say what the picture shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from studio.errors import StudioError
from studio.lineage import weights_sha256
from studio.train.artefact import latents_sha256, save_component, write_ledger_row
from studio.train.frozen import freeze, require_unchanged
from studio.train.hinted import Batch, Hinted, ahead, draw, hinted_scenes
from studio.train.muon import MuonWithAdamW
from studio.train.places import MODELS
from studio.train.run import Options, Run, channels_last, launch, warmup_cosine
from studio.train.tokenizer import encode, shared_tokenizer
from studio.train.unet import (
    STRATA,
    Denoiser,
    build_scheduler,
    covered_mean,
    draw_batch,
    load_denoiser,
    velocity_target,
)
from studio.train.waking import Probe, Waking, controlled, zero_convolutions
from studio.world.maps import MAP_KINDS, MapKind
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed

HINT_WIDTHS = (16, 32, 64, 96)  # of the hint's encoder; diffusers' own (16, 32, 96, 256) is larger than this UNet needs
SCENES_PER_PERSON = 3  # about a third of all scenes shows somebody


@dataclass(frozen=True)
class Preset:
    """scenes: how many with a map are encoded, or nearly; batch: over all processes; prompt_dropout: share of samples
    without a prompt; cover_weight: extra weight of a cell that things and people cover; held_out: scenes looked
    through, of which the first `measured` with a map measure (a multiple of STRATA); pictures: how many are drawn at a
    look at the first steps."""

    minutes: float
    scenes: int
    batch: int
    learning_rate: float = 1e-3
    muon_rate: float = 5e-3
    size: int = 128
    warmup_steps: int = 50
    flat_until: float = 0.4
    ema: float = 0.995
    cover_weight: float = 2.0
    prompt_dropout: float = 0.3
    held_out: int = 1_024
    measured: int = 256
    pictures: int = 6
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(
        minutes=1, scenes=32, batch=4, warmup_steps=2, ema=0.5, held_out=128, measured=STRATA, pictures=2, max_steps=4
    ),
    "cpu": Preset(minutes=14, scenes=16_000, batch=32),
    "gpu": Preset(minutes=2, scenes=60_000, batch=256, learning_rate=1.5e-3, warmup_steps=100, ema=0.998),
}


def build_control(unet: UNet2DConditionModel, init_from: Path | None) -> ControlNetModel:
    """The UNet's encoder with a slim encoder of hints, silent at first; or the weights in a folder."""
    if init_from is not None:
        return ControlNetModel.from_pretrained(init_from, dtype=torch.float32)
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_WIDTHS)


def hidden_of(control: ControlNetModel) -> list[torch.nn.Parameter]:
    """The hidden matrices and kernels: all but what reads latents and hint, and what starts at zero."""
    ends = {control.conv_in.weight, control.controlnet_cond_embedding.conv_in.weight}
    ends |= {convolution.weight for _, convolution in zero_convolutions(control)}
    return [p for p in control.parameters() if p.ndim > 1 and p not in ends]


def with_fast_attention(base: Denoiser, device: torch.device) -> None:
    """Only the base's decoder hands a gradient through; there, on a CPU, the plain attention has the faster backward
    pass."""
    if device.type == "cpu":
        names = base.unet.attn_processors
        base.unet.set_attn_processor(
            {name: AttnProcessor() if name.startswith("up_blocks") else AttnProcessor2_0() for name in names}
        )


def kind_of(options: Options) -> MapKind:
    """The kind of map that was asked for. Raises StudioError without one."""
    if options.kind not in MAP_KINDS:
        raise StudioError("kind_missing", choices=", ".join(MAP_KINDS))
    return options.kind


def worker(rank: int, processes: int, options: Options) -> None:
    preset, kind = PRESETS[options.preset], kind_of(options)
    run = Run("controlnet", rank, processes, options, preset.minutes, preset.max_steps)
    folder = options.out or MODELS / "little-world"
    tokenizer = shared_tokenizer(run, folder)
    scenes = preset.scenes * (SCENES_PER_PERSON if kind == "pose" else 1)
    data = hinted_scenes(run, folder, tokenizer, kind, 0, scenes, preset.size)
    held_out = hinted_scenes(run, folder, tokenizer, kind, FIRST_HELD_OUT_SEED, preset.held_out, preset.size)
    empty = encode(tokenizer, [""])[0]

    torch.manual_seed(options.seed)
    base = load_denoiser(folder).to(run.device)
    base_hash = freeze(base)
    with_fast_attention(base, run.device)
    control = build_control(base.unet, options.init_from).to(run.device)
    if run.device.type == "cpu":
        control.set_attn_processor(AttnProcessor())
    parameters = list(control.parameters())
    optimizer = MuonWithAdamW(control, hidden_of(control), preset.muon_rate, preset.learning_rate)
    average = AveragedModel(control, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    waking = Waking(run, kind, base, folder, tokenizer, preset.pictures)
    parts: dict[str, Any] = {"control": control, "average": average, "optimizer": optimizer, "waking": waking}
    run.resume(parts)
    probe = next(probes(held_out, run.device))
    alpha_bar = build_scheduler().alphas_cumprod.to(run.device)

    def make(step: int) -> Batch:
        rng = np.random.default_rng((options.seed, rank, step, 6))
        return draw(data, max(1, preset.batch // processes), empty, preset.prompt_dropout, rng)

    run.begin(parameters, preset)
    waking.look(control, probe)
    for batch in ahead(make, run.step, 1 if run.device.type == "cpu" else 8):
        if run.finished:
            break
        batch = batch.to(run.device)
        xt, v = velocity_target(batch.x0, torch.randn_like(batch.x0), alpha_bar[batch.t])
        with run.autocast():
            predicted = controlled(base, control, xt, batch.t, batch.tokens, channels_last(batch.hint))
        error = (predicted.float() - v).square()
        loss = covered_mean(error, batch.covers, preset.cover_weight)
        loss.backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(warmup_cosine(run.fraction, run.step, preset.warmup_steps, preset.flat_until))
        average.update_parameters(control)
        run.log(loss=float(loss.detach()), plain_mse=float(error.detach().mean()))
        waking.look(control, probe)
        if run.checkpoint_due():
            run.save(parts)

    run.save(parts)
    require_unchanged(base, base_hash)
    if rank == 0:
        finish(run, preset, cast(ControlNetModel, average.module), base, folder, held_out, waking)
    run.barrier()
    run.close()


def probes(data: Hinted, device: torch.device) -> Iterator[Probe]:
    """Held-out scenes by the STRATA, with their exact maps, stratified times and fixed noise, in order."""
    generator = torch.Generator().manual_seed(5)
    rng, t = np.random.default_rng(5), ((torch.arange(STRATA) + 0.5) * 1000 / STRATA).long()
    for start in range(0, len(data.rows) - STRATA + 1, STRATA):
        picks = data.rows[start : start + STRATA]
        x0, tokens, _ = draw_batch(data.latents, picks, np.zeros(data.latents.tokens.shape[-1]), 0.0, rng)
        eps = torch.randn(x0.shape, generator=generator)
        x0, eps, times, tokens, hint = (a.to(device) for a in (x0, eps, t, tokens, data.hints(picks, None)))
        yield Probe(x0, eps, times, tokens, hint, [scene_of_seed(FIRST_HELD_OUT_SEED + int(row)) for row in picks])


@torch.no_grad()
def held_out_losses(
    base: Denoiser, control: ControlNetModel, data: Hinted, measured: int, run: Run
) -> dict[str, float]:
    """Mean squared error of v on unseen scenes with exact maps, and of the base alone."""
    alpha_bar = build_scheduler().alphas_cumprod.to(run.device)
    errors: dict[str, list[float]] = {"held_out_mse": [], "without_control_mse": []}
    for probe, _ in zip(probes(data, run.device), range(measured // STRATA), strict=False):
        xt, v = velocity_target(probe.x0, probe.eps, alpha_bar[probe.t])
        for (_, found), scale in zip(errors.items(), (1.0, 0.0), strict=True):
            predicted = controlled(base, control, xt, probe.t, probe.tokens, probe.hint, scale)
            found.append(float((predicted - v).square().mean()))
    return {name: round(float(np.mean(found)), 4) for name, found in errors.items()}


def finish(
    run: Run, preset: Preset, control: ControlNetModel, base: Denoiser, folder: Path, held_out: Hinted, waking: Waking
) -> None:
    """Measure what is shipped, and write it with its base's hash and the notes of its first steps."""
    control.to(torch.float16).to(torch.float32)
    metrics = held_out_losses(base, control, held_out, preset.measured, run)
    control.set_default_attn_processor()
    target = folder / f"controlnet-{waking.kind}"
    builds_on = {"unet": weights_sha256(folder / "unet"), "latents": latents_sha256(folder / "vae")}
    save_component(control.to("cpu"), target, run, asdict(preset), metrics, **builds_on)
    waking.write(target)
    write_ledger_row(run, f"little-world/{target.name}", target, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    kind_of(options)
    launch(worker, options)
