"""From noise to pictures by a network and its quantized stand-ins, from the same noise: what each of them draws, and
what full precision was asked on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from studio.diffusion.parameterisations import clipped, denoiser
from studio.diffusion.process import to_pixels
from studio.diffusion.samplers import ddim
from studio.diffusion.similarity import psnr
from studio.diffusion.unet import told
from studio.diffusion.walk import last, spaced
from studio.engine.calibration import Call, Recording
from studio.engine.pixel import PixelModel
from studio.evaluate.pixel import seen
from studio.evaluate.report import ReportRow, bootstrap_mean
from studio.evaluate.text2img import Painter
from studio.perception.measure import Measure
from studio.perception.network import as_input, frechet_distance

BATCH = 32


@dataclass(frozen=True, eq=False)
class Walked:
    """calls: what the network was asked of the first BATCH pictures at most, the noisiest first; pictures: all of them,
    (N, 3, H, W) in [-1, 1]."""

    calls: Sequence[Call]
    pictures: Tensor


class Walks(Protocol):
    """Pictures that are drawn in the same way by any network."""

    def walk(self, net: Any, seed: int) -> Walked:
        """Picture i of a seed begins with the noise of i, whichever network walks."""

    def features(self, pictures: Tensor) -> Tensor:
        """What the eye makes of pictures. (N, 3, H, W) -> (N, D)"""


@dataclass(frozen=True, eq=False)
class PixelWalks:
    """Of the DDPM on pixels, by DDIM without noise of its own. labels: (N,), of the pictures."""

    eye: Measure
    model: PixelModel
    labels: Tensor
    steps: int

    @torch.inference_mode()
    def walk(self, net: Any, seed: int) -> Walked:
        times, noise = spaced(self.model.schedule.T, self.steps), self.model.noise(len(self.labels), seed * 1_000_000)
        calls, pictures = list[Call](), list[Tensor]()
        for start in range(0, len(self.labels), BATCH):
            asked: Any = Recording(net, calls) if start == 0 else net
            predict = told(asked, self.labels[start : start + BATCH])
            denoise = clipped(denoiser(predict, "eps", self.model.schedule))
            pictures.append(last(ddim(denoise, noise[start : start + BATCH], times, self.model.schedule)))
        return Walked(calls, torch.cat(pictures))

    def features(self, pictures: Tensor) -> Tensor:
        return seen(self.eye, to_pixels(pictures).permute(0, 2, 3, 1).numpy(), self.labels)[0]


@dataclass(frozen=True, eq=False)
class TextWalks:
    """Of a text-to-image model with its own settings, a picture for each prompt. painter: of full precision."""

    eye: Measure
    painter: Painter
    prompts: Sequence[str]

    def walk(self, net: Any, seed: int) -> Walked:
        """The UNet of the painter's view is another one meanwhile."""
        calls, pictures, own = list[Call](), list[Tensor](), self.painter.view.unet
        painter = replace(self.painter, seed=seed)
        try:
            self.painter.view.unet = Recording(net, calls)
            for _, drawn in painter.draw(self.prompts):
                self.painter.view.unet = net
                pictures.append(as_input(np.stack([np.asarray(one) for one in drawn])))
        finally:
            self.painter.view.unet = own
        return Walked(calls, torch.cat(pictures))

    def features(self, pictures: Tensor) -> Tensor:
        from PIL import Image

        arrays = to_pixels(pictures).permute(0, 2, 3, 1).numpy()
        batches = [arrays[start : start + BATCH] for start in range(0, len(arrays), BATCH)]
        return torch.cat([self.eye.read([Image.fromarray(one) for one in batch]).features for batch in batches])


@dataclass(frozen=True, eq=False)
class Real:
    """True pictures to compare with: their features (M, D), and how far as many other true ones are from them."""

    features: Tensor
    floor: float

    @classmethod
    def of(cls, features: Tensor, others: Tensor) -> Real:
        return cls(features, frechet_distance(others, features))


def psnr_row(walked: Walked, full: Walked, where: str, seed: int) -> ReportRow:
    """How near some pictures are to those of full precision."""
    values = psnr(walked.pictures, full.pictures).tolist()
    return ReportRow("psnr", float(np.mean(values)), "dB", where, *bootstrap_mean(values, seed))
