"""The autoencoder of the little world: 8 x 8 x 3 pixels become 4 numbers.

diffusers' AutoencoderTiny, trained from scratch on crops: L1 + 2 MSE, L1 on image gradients (edges) and on a 4x-pooled
copy (tone). Instead of a KL term the latents are drawn towards zero mean and unit variance per channel, and noise of
0.08 is added before decoding, so that what the UNet leaves behind does not show.

A warm start refines the decoder alone: the encoder and its scale define the latents, and everything that was trained
on them would have to be trained again. Then a critic of patches adds what the averages above blur: crayon strokes,
windows, faces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from studio.diffusion.similarity import psnr
from studio.train.artefact import edit_config, save_component, write_ledger_row
from studio.train.critic import Critic, balanced_weight, critic_loss
from studio.train.data import rendered_pictures
from studio.train.muon import MuonWithAdamW
from studio.train.pictures import crops, edge_difference, to_unit
from studio.train.places import MODELS
from studio.train.run import Options, Run, channels_last, launch, warmup_cosine
from studio.world.scene import FIRST_HELD_OUT_SEED

LATENT_CHANNELS, ENCODER_WIDTH, DECODER_WIDTH = 4, 32, 48
ENCODER_BLOCKS, DECODER_BLOCKS = (1, 1, 2, 3), (3, 3, 2, 1)


@dataclass(frozen=True)
class Preset:
    """pictures: how many are rendered; crop: side of the training crops; held_out: pictures to measure with.

    After the fraction `full_from` of the budget whole pictures are seen; a warm start sees no others. Its critic learns
    alone until the fraction `critic_alone_until`.
    """

    minutes: float
    pictures: int
    batch: int
    learning_rate: float
    refine_rate: float = 1e-3
    critic_rate: float = 1e-3
    critic_alone_until: float = 0.06
    crop: int = 64
    size: int = 128
    full_from: float = 0.88
    ema: float = 0.998
    latent_noise: float = 0.08
    held_out: int = 128
    max_steps: int | None = None


PRESETS = {
    "smoke": Preset(minutes=1, pictures=64, batch=4, learning_rate=3e-3, ema=0.9, held_out=16, max_steps=12),
    "cpu": Preset(minutes=22, pictures=16_000, batch=16, learning_rate=3e-3),
    "gpu": Preset(minutes=5, pictures=60_000, batch=96, learning_rate=4e-3, crop=96),
}


def build_vae() -> AutoencoderTiny:
    return AutoencoderTiny(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(ENCODER_WIDTH,) * 4,
        decoder_block_out_channels=(DECODER_WIDTH,) * 4,
        num_encoder_blocks=ENCODER_BLOCKS,
        num_decoder_blocks=DECODER_BLOCKS,
    )


def reconstruction_loss(y: Tensor, x: Tensor) -> Tensor:
    """x, y: (B, 3, H, W) in [-1, 1]."""
    d = y - x
    tone = F.avg_pool2d(d, 4).abs().mean()
    return d.abs().mean() + 2 * d.square().mean() + 0.35 * edge_difference(d) + 0.5 * tone


def latent_penalty(z: Tensor) -> Tensor:
    """The KL divergence of the latents' moments, (B, C, h, w): zero at zero mean and unit variance per channel."""
    mean, variance = z.mean((0, 2, 3)), z.var((0, 2, 3)) + 1e-6
    return (mean.square() + variance - variance.log() - 1).mean()


@torch.no_grad()
def mean_psnr(vae: AutoencoderTiny, pictures: np.ndarray, device: torch.device) -> float:
    """Mean over pictures of the reconstruction's PSNR in dB."""
    batches = (to_unit(pictures[start : start + 32]).to(device) for start in range(0, len(pictures), 32))
    return float(torch.cat([psnr(vae(x).sample, x) for x in batches]).mean())


@torch.no_grad()
def latent_rgb(vae: AutoencoderTiny, pictures: np.ndarray) -> dict[str, Any]:
    """The linear map from scaled latents to RGB in [-1, 1] that fits best: a preview that costs nothing."""
    x = to_unit(pictures)
    z = vae.encode(x).latents * vae.config.scaling_factor
    small = F.avg_pool2d(x, 8)
    inputs = torch.cat([z, torch.ones_like(z[:, :1])], 1).permute(0, 2, 3, 1).reshape(-1, z.shape[1] + 1)
    solution = torch.linalg.lstsq(inputs, small.permute(0, 2, 3, 1).reshape(-1, 3)).solution
    return {"weight": solution[:-1].tolist(), "bias": solution[-1].tolist()}


def hidden_of(vae: AutoencoderTiny, parameters: Iterable[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """The kernels among the parameters, but for the first and last ones of encoder and decoder."""
    ends = {vae.encoder.layers[0].weight, vae.encoder.layers[-1].weight, vae.decoder.layers[-1].weight}
    return [p for p in parameters if p.ndim == 4 and p not in ends]


def shared_pictures(run: Run, preset: Preset) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Training pictures and held-out ones; the first process renders them, and all read them."""
    wanted = ((0, preset.pictures), (FIRST_HELD_OUT_SEED, preset.held_out))
    if run.rank == 0:
        for first_seed, count in wanted:
            rendered_pictures(first_seed, count, preset.size)
    run.barrier()
    pictures, held_out = (rendered_pictures(first_seed, count, preset.size) for first_seed, count in wanted)
    return pictures, held_out


def backward_with_critic(
    loss: Tensor, y: Tensor, x: Tensor, z: Tensor, critic: torch.nn.Module, last: torch.nn.Parameter | None, run: Run
) -> dict[str, float]:
    """Gradients of the decoder from `loss` and the critic's verdict on y, and of the critic from y and x.

    loss: the reconstruction's; y, x: (B, 3, H, W), drawn and true; z: their latents; last: the decoder's last kernel,
    or None as long as the decoder does not listen to the critic.
    """
    if last is None:
        loss.backward()
        weight = 0.0
    else:
        critic.requires_grad_(False)
        with run.autocast():
            verdict = -critic(y, z).float().mean()
        weight = balanced_weight(loss, verdict, last)
        (loss + weight * verdict).backward()
        critic.requires_grad_(True)
    with run.autocast():
        mistakes = critic_loss(critic(x, z).float(), critic(y.detach(), z).float())
    mistakes.backward()
    return {"critic": float(mistakes.detach()), "weight": weight}


def worker(rank: int, processes: int, options: Options) -> None:
    preset = PRESETS[options.preset]
    run = Run("vae", rank, processes, options, preset.minutes, preset.max_steps)
    rng = np.random.default_rng((options.seed, rank))
    pictures, held_out = shared_pictures(run, preset)

    torch.manual_seed(options.seed)
    refine = options.init_from is not None
    vae = AutoencoderTiny.from_pretrained(options.init_from, dtype=torch.float32) if refine else build_vae()
    vae = vae.to(run.device, memory_format=torch.channels_last).train()
    vae.encoder.requires_grad_(not refine)
    trained = vae.decoder if refine else vae
    parameters = list(trained.parameters())
    rate = preset.refine_rate if refine else preset.learning_rate
    optimizer = MuonWithAdamW(trained, hidden_of(vae, parameters), rate, 1e-3)
    average = AveragedModel(vae, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    parts: dict[str, Any] = {"vae": vae, "average": average, "optimizer": optimizer}
    if refine:
        critic = Critic(LATENT_CHANNELS).to(run.device).to(memory_format=torch.channels_last)
        critic_optimizer = torch.optim.Adam(critic.parameters(), preset.critic_rate, betas=(0.5, 0.9))
        parts |= {"critic": critic, "critic_optimizer": critic_optimizer}
    run.resume(parts)
    run.begin(parameters, preset)

    while not run.finished:
        whole = refine or run.fraction > preset.full_from
        batch = max(1, preset.batch // processes // (4 if whole else 1))
        x = channels_last(to_unit(crops(pictures, batch, preset.size if whole else preset.crop, rng)).to(run.device))
        with run.autocast():
            z = vae.encode(x).latents
            y = vae.decode(z + preset.latent_noise * torch.randn_like(z)).sample
        loss = reconstruction_loss(y.float(), x)
        scalars = {"loss": float(loss.detach())}
        if refine:
            heard = run.fraction > preset.critic_alone_until
            scalars |= backward_with_critic(
                loss, y, x, z, critic, vae.decoder.layers[-1].weight if heard else None, run
            )
        else:
            (loss + 0.01 * latent_penalty(z.float())).backward()
        run.average_gradients([*parameters, *critic.parameters()] if refine else parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(warmup_cosine(run.fraction, run.step, 40, 0.3))
        if refine:
            critic_optimizer.step()
            critic_optimizer.zero_grad()
        average.update_parameters(vae)
        run.log(**scalars)
        if run.checkpoint_due():
            run.say(f"held-out PSNR {mean_psnr(average.module, held_out[:32], run.device):.2f} dB")
            run.save(parts)

    run.save(parts)
    if rank == 0:
        vae = average.module.to("cpu").to(memory_format=torch.contiguous_format)
        finish(run, preset, vae, pictures, held_out)
    run.barrier()
    run.close()


@torch.no_grad()
def finish(run: Run, preset: Preset, vae: AutoencoderTiny, pictures: np.ndarray, held_out: np.ndarray) -> None:
    """Choose the scaling factor, measure, and write the artefact."""
    batches = (to_unit(pictures[i : i + 32]) for i in range(0, min(512, len(pictures)), 32))
    z = torch.cat([vae.encode(batch).latents for batch in batches])
    if run.options.init_from is None:
        vae.register_to_config(scaling_factor=round(1 / float(z.std()), 4))
    vae.to(torch.float16).to(torch.float32)  # measure what is shipped
    metrics = {
        "psnr_db": round(mean_psnr(vae, held_out, torch.device("cpu")), 3),
        "latent_std": [round(float(s), 3) for s in z.std((0, 2, 3))],
        "latent_mean": [round(float(m), 3) for m in z.mean((0, 2, 3))],
    }
    folder = (run.options.out or MODELS / "little-world") / "vae"
    preview = json.dumps(latent_rgb(vae, held_out))
    save_component(vae, folder, run, asdict(preset), metrics)
    edit_config(folder, drop=("block_out_channels",))  # diffusers writes it and then warns of it
    (folder / "latent_rgb.json").write_text(preview + "\n", encoding="utf-8")
    write_ledger_row(run, "little-world/vae", folder, metrics)
    run.say(f"{metrics}")


def main(options: Options) -> None:
    launch(worker, options)
