"""How far a quantized network is from its full precision: its guesses, its pictures, and what the eye makes of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from studio.diffusion.similarity import psnr, ssim
from studio.engine.calibration import Call
from studio.engine.comparison import answer
from studio.engine.comparison_distances import FULL_WHERE
from studio.evaluate.quant_walks import Real, Walks
from studio.evaluate.report import Z_95, ReportRow, bootstrap_mean
from studio.perception.network import NEIGHBOURS, frechet_distance, precision_recall

FRECHET_RESAMPLES = 40
RIVALS = ("minmax", "mse", "ptq4dm", "q_diffusion", "per_interval", "input_dynamic")
TIMED = "tdq_ptq"
OTHER_NOISE = f"{FULL_WHERE}, other noise"


def bits_name(weight_bits: int, activation_bits: int) -> str:
    """As papers write it: W8A5."""
    return f"W{weight_bits}A{activation_bits}"


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is measured of one network. eps_mse: of each sample of the calls that were looked at; psnr, ssim: of each
    picture, (N,); features of the eye, (N, D)."""

    eps_mse: Tensor
    psnr: Tensor
    ssim: Tensor
    features: Tensor


class Judge:
    """Full precision's walks, true pictures to compare with, and the eye. net: the one in full precision."""

    def __init__(self, walks: Walks, net: Any, real: Real, seed: int) -> None:
        self.walks, self.net, self.real, self.seed = walks, net, real, seed
        self.full = walks.walk(net, seed)
        self.answers = [self._answer(net, call) for call in self.full.calls]
        self.features = walks.features(self.full.pictures)
        self.full_distance = frechet_distance(self.features, real.features)

    def drawn(self, net: Any) -> Drawn:
        """Its answers to what full precision was asked on its way, and its own walks from the same noise."""
        pictures = self.walks.walk(net, self.seed).pictures
        near, alike = (measure(pictures, self.full.pictures) for measure in (psnr, ssim))
        return Drawn(self.eps_mse(net), near, alike, self.walks.features(pictures))

    def eps_mse(self, net: Any) -> Tensor:
        """The mean square by which its answers differ, of each sample, over the steps of the walk."""
        asked = zip(self.full.calls, self.answers, strict=True)
        return torch.stack([(self._answer(net, call) - own).square().mean((1, 2, 3)) for call, own in asked]).mean(0)

    @torch.inference_mode()
    def _answer(self, net: Any, call: Call) -> Tensor:
        return answer(net, call)

    def distance_row(self, where: str, features: Tensor) -> ReportRow:
        """FD-world with an interval of 1.96 spreads over resamples of the drawn pictures; a resample holds pictures
        twice, and so lies above: its spread is taken, not its place. baseline: of full precision; ceiling: of true
        pictures."""
        value, generator = frechet_distance(features, self.real.features), torch.Generator().manual_seed(self.seed)
        resampled = [
            frechet_distance(
                features[torch.randint(len(features), (len(features),), generator=generator)], self.real.features
            )
            for _ in range(FRECHET_RESAMPLES)
        ]
        spread = Z_95 * float(np.std(resampled))
        low, high = max(0.0, value - spread), value + spread
        return ReportRow("fd_world", value, "", where, low, high, self.full_distance, self.real.floor, sense="lower")

    def cover_rows(self, where: str, features: Tensor) -> Iterator[ReportRow]:
        """Precision, how many drawn pictures could be real, and recall, how many real ones could be drawn. baseline: of
        full precision. None for fewer pictures than neighbours."""
        if min(len(features), len(self.real.features)) > NEIGHBOURS:
            own = precision_recall(self.features, self.real.features)
            for name, value, full in zip(
                ("precision", "recall"), precision_recall(features, self.real.features), own, strict=True
            ):
                yield ReportRow(name, value, "share", where, baseline=full)

    def full_rows(self) -> Iterator[ReportRow]:
        """Full precision itself, and once more from other noise: how far two draws of one network are apart."""
        other = self.walks.features(self.walks.walk(self.net, self.seed + 1).pictures)
        for where, features in ((FULL_WHERE, self.features), (OTHER_NOISE, other)):
            yield replace(self.distance_row(where, features), baseline=None)
            yield from (replace(row, baseline=None) for row in self.cover_rows(where, features))


def rows_of(name: str, drawn: Drawn, judge: Judge) -> Iterator[ReportRow]:
    """What one network is measured by, with its interval over pictures."""
    for field, unit in (("eps_mse", ""), ("psnr", "dB"), ("ssim", "")):
        values = getattr(drawn, field).tolist()
        sense: Literal["higher", "lower"] = "lower" if field == "eps_mse" else "higher"
        yield ReportRow(field, float(np.mean(values)), unit, name, *bootstrap_mean(values, judge.seed), sense=sense)
    yield judge.distance_row(name, drawn.features)
    yield from judge.cover_rows(name, drawn.features)


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


def say(text: str, started: float) -> None:
    """Tell whoever waits, beside the answer. started: by the monotonic clock."""
    print(f"[evaluate quant] {text}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
