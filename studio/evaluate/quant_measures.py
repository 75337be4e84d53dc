"""How far a quantized network is from its full precision: its guesses, its pictures, and what the eye makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from studio.diffusion.parameterisations import clipped, denoiser
from studio.diffusion.process import to_pixels
from studio.diffusion.samplers import ddim
from studio.diffusion.similarity import psnr, ssim
from studio.diffusion.unet import told
from studio.diffusion.walk import last, spaced
from studio.engine.pixel import PixelModel
from studio.evaluate.pixel import Truth, seen, truth_of
from studio.evaluate.report import Z_95, ReportRow, bootstrap_mean
from studio.perception.measure import Measure
from studio.perception.network import frechet_distance

BATCH = 32
FRECHET_RESAMPLES = 40
RIVALS = ("minmax", "mse", "ptq4dm", "q_diffusion", "per_interval", "input_dynamic")
TIMED = "tdq_ptq"


def bits_name(weight_bits: int, activation_bits: int) -> str:
    """As papers write it: W8A5."""
    return f"W{weight_bits}A{activation_bits}"


@dataclass(frozen=True, eq=False)
class Walked:
    """Walks back from noise. times: of the steps; inputs, guesses: xt and the network's eps at each, (N, 3, side,
    side); pictures: where they ended, in [-1, 1]."""

    times: tuple[int, ...]
    inputs: tuple[Tensor, ...]
    guesses: tuple[Tensor, ...]
    pictures: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, model: PixelModel, net: nn.Module, labels: Tensor, steps: int, seed: int) -> Walked:
        """DDIM without noise of its own, picture i from the noise of i whichever network walks."""
        times = spaced(model.schedule.T, steps)
        noise = model.noise(len(labels), seed * 1_000_000)
        parts = [
            _walk(model, net, labels[start : start + BATCH], noise[start : start + BATCH], times)
            for start in range(0, len(labels), BATCH)
        ]
        inputs, guesses, pictures = zip(*parts, strict=True)
        return cls(tuple(times), torch.cat(inputs, 1).unbind(), torch.cat(guesses, 1).unbind(), torch.cat(pictures))

    def psnr_row(self, full: Walked, where: str, seed: int) -> ReportRow:
        values = psnr(self.pictures, full.pictures).tolist()
        return ReportRow("psnr", float(np.mean(values)), "dB", where, *bootstrap_mean(values, seed))


def _walk(
    model: PixelModel, net: nn.Module, labels: Tensor, x: Tensor, times: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """xt and eps at every step, (steps, B, 3, side, side) each, and the pictures, (B, 3, side, side)."""
    predict, inputs, guesses = told(net, labels), list[Tensor](), list[Tensor]()

    def watched(xt: Tensor, t: int) -> Tensor:
        inputs.append(xt)
        guesses.append(predict(xt, t))
        return guesses[-1]

    pictures = last(ddim(clipped(denoiser(watched, "eps", model.schedule)), x, times, model.schedule))
    return torch.stack(inputs), torch.stack(guesses), pictures


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is measured of one network, of each picture: eps_mse (at most BATCH,); psnr, ssim (N,); features of the
    eye, (N, D)."""

    eps_mse: Tensor
    psnr: Tensor
    ssim: Tensor
    features: Tensor


class Judge:
    """Full precision's walks, true pictures to compare with, and the eye."""

    def __init__(self, eye: Measure, model: PixelModel, count: int, seed: int, steps: int) -> None:
        self.eye, self.model, self.seed, self.steps = eye, model, seed, steps
        self.truth: Truth = truth_of(eye, model.side, count, seed)
        self.full = self._walked(model.net)
        self.features = self._features(self.full.pictures)
        self.full_distance = frechet_distance(self.features, self.truth.features)

    @torch.inference_mode()
    def drawn(self, net: nn.Module) -> Drawn:
        """Its guesses at what full precision met on its way, of the first pictures, and its own walks from the same
        noise."""
        walked, predict = self._walked(net), told(net, self.truth.labels[:BATCH])
        met = zip(self.full.times, self.full.inputs, self.full.guesses, strict=True)
        apart = [(predict(xt[:BATCH], t) - eps[:BATCH]).square().mean((1, 2, 3)) for t, xt, eps in met]
        eps_mse = torch.stack(apart).mean(0)
        near, alike = (measure(walked.pictures, self.full.pictures) for measure in (psnr, ssim))
        return Drawn(eps_mse, near, alike, self._features(walked.pictures))

    def _walked(self, net: nn.Module) -> Walked:
        return Walked.of(self.model, net, self.truth.labels, self.steps, self.seed)

    def _features(self, pictures: Tensor) -> Tensor:
        pixels = to_pixels(pictures).permute(0, 2, 3, 1).numpy()
        return seen(self.eye, pixels, self.truth.labels)[0]

    def distance_row(self, where: str, features: Tensor) -> ReportRow:
        """FD-world with an interval of 1.96 spreads over resamples of the drawn pictures; a resample holds pictures
        twice, and so lies above: its spread is taken, not its place. baseline: of full precision; ceiling: of true
        pictures."""
        value, generator = frechet_distance(features, self.truth.features), torch.Generator().manual_seed(self.seed)
        resampled = [
            frechet_distance(
                features[torch.randint(len(features), (len(features),), generator=generator)], self.truth.features
            )
            for _ in range(FRECHET_RESAMPLES)
        ]
        spread = Z_95 * float(np.std(resampled))
        low, high = max(0.0, value - spread), value + spread
        return ReportRow("fd_world", value, "", where, low, high, self.full_distance, self.truth.floor, sense="lower")

    def full_rows(self) -> Iterator[ReportRow]:
        """Full precision itself, and once more from other noise: how far two draws of one network are apart."""
        yield replace(self.distance_row("full precision", self.features), baseline=None)
        other = Walked.of(self.model, self.model.net, self.truth.labels, self.steps, self.seed + 1)
        yield replace(self.distance_row("full precision, other noise", self._features(other.pictures)), baseline=None)


def rows_of(name: str, drawn: Drawn, judge: Judge) -> Iterator[ReportRow]:
    """What one network is measured by, with its interval over pictures."""
    for field, unit in (("eps_mse", ""), ("psnr", "dB"), ("ssim", "")):
        values = getattr(drawn, field).tolist()
        sense: Literal["higher", "lower"] = "lower" if field == "eps_mse" else "higher"
        yield ReportRow(field, float(np.mean(values)), unit, name, *bootstrap_mean(values, judge.seed), sense=sense)
    yield judge.distance_row(name, drawn.features)


def gain_rows(drawn: Mapping[str, Drawn], seed: int) -> Iterator[ReportRow]:
    """Picture by picture, how much nearer to full precision the steps that know the time come than a rival's, and
    trained TDQ than trained LSQ: in dB, above 0 is nearer. An interval that holds 0 is no difference."""
    for name, timed in drawn.items():
        bits, _, method = name.partition(" ")
        rivals = [f"{bits} {rival}" for rival in RIVALS] if method == TIMED else [name.replace(" tdq-", " lsq-")]
        for rival in rivals:
            if rival in drawn and rival != name:
                values = (timed.psnr - drawn[rival].psnr).tolist()
                where = f"{name} over {rival.partition(' ')[2]}"
                yield ReportRow("psnr_gain", float(np.mean(values)), "dB", where, *bootstrap_mean(values, seed), 0.0)
