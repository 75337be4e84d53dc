"""The x2 super-resolver: renders at 256 pixels are the truth, what the autoencoder makes of the same scenes at 128 the
input, so that it learns to mend the studio's own softness."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from studio.diffusion.similarity import psnr
from studio.diffusion.super_resolution import SuperResolver
from studio.train.artefact import weights_sha256, write_ledger_row, write_metrics
from studio.train.data import rendered_pictures
from studio.train.pictures import crops, edge_difference, to_unit
from studio.train.run import MODELS, Options, Run, channels_last, launch, warmup_cosine
from studio.world.scene import FIRST_HELD_OUT_SEED

WEIGHTS, LARGE, CROP = "super_resolver.safetensors", 256, 128


@dataclass(frozen=True)
class Preset:
    minutes: float
    pictures: int
    batch: int
    learning_rate: float
    ema: float = 0.995
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=16, batch=2, learning_rate=1e-3, ema=0.5, max_steps=3),
    "cpu": Preset(minutes=6, pictures=3_000, batch=8, learning_rate=1e-3),
    "gpu": Preset(minutes=2, pictures=20_000, batch=64, learning_rate=2e-3),
}


@torch.no_grad()
def softened(vae: AutoencoderTiny, large: Tensor) -> Tensor:
    """(B, 3, 2h, 2w) true pictures to (B, 3, h, w) as the autoencoder gives them back at half the side."""
    return vae(F.avg_pool2d(large, 2)).sample.clamp(-1, 1)


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("upscale", rank, processes, options, preset.minutes, preset.max_steps)
    vae_folder = (options.out or MODELS / "little-world") / "vae"
    rng = np.random.default_rng((options.seed, rank, 5))
    if rank == 0:
        rendered_pictures(0, preset.pictures, LARGE)
    run.barrier()
    pictures = rendered_pictures(0, preset.pictures, LARGE)
    vae = AutoencoderTiny.from_pretrained(vae_folder, dtype=torch.float32).to(run.device)

    torch.manual_seed(options.seed)
    model = SuperResolver().to(run.device).to(memory_format=torch.channels_last)
    if options.init_from:
        model.load_state_dict({name: value.float() for name, value in load_file(options.init_from / WEIGHTS).items()})
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, preset.learning_rate, weight_decay=0.0, fused=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    parts = {"model": model, "average": average, "optimizer": optimizer}
    run.resume(parts)
    run.begin(parameters, preset)

    while not run.finished:
        optimizer.param_groups[0]["lr"] = preset.learning_rate * warmup_cosine(run.fraction, run.step, 20, 0.3)
        count = max(1, preset.batch // processes)
        large = channels_last(to_unit(crops(pictures, count, CROP, rng)).to(run.device))
        with run.autocast():
            predicted = model(softened(vae, large))
        d = predicted.float() - large
        loss = d.abs().mean() + d.square().mean() + 0.35 * edge_difference(d)
        loss.backward()
        run.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(model)
        run.log(loss=float(loss.detach()))
        if run.checkpoint_due():
            run.save(parts)

    if rank == 0:
        finish(
            run,
            preset,
            cast(SuperResolver, average.module.to("cpu").to(memory_format=torch.contiguous_format)),
            vae.to("cpu"),
        )
    run.barrier()
    run.close()


@torch.no_grad()
def finish(run: Run, preset: Preset, model: SuperResolver, vae: AutoencoderTiny) -> None:
    """Measure against bilinear interpolation on held-out scenes, and write the artefact."""
    folder = (run.options.out or MODELS) / "upscale"
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in half.items()})
    count = 8 if preset.max_steps else 96
    truth = to_unit(rendered_pictures(FIRST_HELD_OUT_SEED, count, LARGE))
    small = torch.cat([softened(vae, truth[i : i + 8]) for i in range(0, count, 8)])
    ours = torch.cat([model(small[i : i + 8]) for i in range(0, count, 8)])
    plain = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    metrics = {
        "psnr_db": round(float(psnr(ours, truth).mean()), 2),
        "bilinear_psnr_db": round(float(psnr(plain, truth).mean()), 2),
    }
    save_file(half, folder / WEIGHTS)
    vae_folder = (run.options.out or MODELS / "little-world") / "vae"
    write_metrics(folder, run, asdict(preset), metrics, vae=weights_sha256(vae_folder))
    write_ledger_row(run, "upscale", folder, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
