"""How zero convolutions wake up: what a ControlNet does during its first steps, for the page that shows it.

At the first step every zero convolution is zero, so the ControlNet adds nothing; its weights have a gradient all the
same, because what it multiplies is not zero (Zhang et al., 2302.05543, section 3.1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, ControlNetModel, StableDiffusionControlNetPipeline
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from studio.errors import ModelUnavailable
from studio.perception.heads import StructureReader
from studio.perception.obedience import obedience
from studio.train.places import MODELS
from studio.train.run import Run
from studio.train.samples import sheet_of
from studio.train.unet import Denoiser, build_scheduler, velocity_target
from studio.world.caption import caption
from studio.world.maps import MapKind
from studio.world.scene import Scene

FILE = "waking.json"
NORMS_UNTIL = 100  # steps of which every one is noted
LOSS_AT = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610)
PICTURES_AT = (0, 8, 21, 55, 89, 144, 233, 377, 610)
SAMPLING_STEPS, GUIDANCE = 8, 4.0


def zero_convolutions(control: ControlNetModel) -> Iterator[tuple[str, torch.nn.Conv2d]]:
    """Every convolution that starts at zero, by name: that of the hint, one for each residual, the middle's."""
    yield "hint", control.controlnet_cond_embedding.conv_out
    for number, convolution in enumerate(control.controlnet_down_blocks):
        yield f"down {number}", convolution
    yield "mid", control.controlnet_mid_block


@dataclass(frozen=True)
class Probe:
    """Held-out scenes with one noise each, the same at every look.

    x0, eps: (B, 4, h, w); t: (B,); tokens: (B, 64); hint: (B, 3, 8 h, 8 w) in [0, 1], exact maps; scenes: of all rows.
    """

    x0: Tensor
    eps: Tensor
    t: Tensor
    tokens: Tensor
    hint: Tensor
    scenes: Sequence[Scene]


class Waking:
    """Takes notes during the first steps; its state belongs to the checkpoint. Only the first process notes."""

    def __init__(
        self, run: Run, kind: MapKind, base: Denoiser, folder: Path, tokenizer: PreTrainedTokenizerFast, pictures: int
    ) -> None:
        """folder: of the base; pictures: how many are drawn at a look."""
        self.run, self.kind, self.base, self.pictures = run, kind, base, pictures
        self.notes: list[dict[str, Any]] = []
        self.without: dict[str, float | None] = {}
        self._tokenizer = tokenizer
        self._vae = AutoencoderTiny.from_pretrained(folder / "vae", dtype=torch.float32).to(run.device)
        self._reader = self._find_reader()

    def _find_reader(self) -> StructureReader | None:
        """The heads that measure depth and poses. Without them losses are noted, but no obedience: this is said."""
        if self.kind == "canny" or self.run.rank:
            return None
        try:
            return StructureReader.load(self.run.options.out or MODELS)
        except ModelUnavailable as error:
            self.run.say(f"no obedience is noted: {error}")
            return None

    def state_dict(self) -> dict[str, Any]:
        return {"notes": self.notes, "without": self.without}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.notes, self.without = list(state["notes"]), dict(state["without"])

    @torch.no_grad()
    def look(self, control: ControlNetModel, probe: Probe) -> None:
        """Note what this step's weights do, if it is one of the steps that are noted."""
        step = self.run.step
        noted = any(note["step"] == step for note in self.notes)
        if self.run.rank or noted or step not in (*range(NORMS_UNTIL + 1), *LOSS_AT):
            return
        norms = {name: round(float(conv.weight.norm()), 5) for name, conv in zero_convolutions(control)}
        note: dict[str, Any] = {"step": step, "norms": norms}
        if not self.without:
            self.without = {"loss": self._loss(control, probe, 0.0), "obedience": self._obedience(control, probe, 0.0)}
        if step in LOSS_AT:
            note["loss"] = self._loss(control, probe, 1.0)
        if step in PICTURES_AT:
            note["obedience"] = self._obedience(control, probe, 1.0)
        self.notes.append(note)

    def _loss(self, control: ControlNetModel, probe: Probe, scale: float) -> float:
        """Mean squared error of v on the probe."""
        alpha_bar = build_scheduler().alphas_cumprod.to(self.run.device)[probe.t]
        xt, v = velocity_target(probe.x0, probe.eps, alpha_bar)
        with self.run.autocast():
            predicted = controlled(self.base, control, xt, probe.t, probe.tokens, probe.hint, scale)
        return round(float((predicted.float() - v).square().mean()), 5)

    def _obedience(self, control: ControlNetModel, probe: Probe, scale: float) -> float | None:
        """Mean obedience of some pictures, drawn in few steps; None if nobody can read it."""
        if self.kind != "canny" and self._reader is None:
            return None
        pictures, scenes = self._draw(control, probe, scale), probe.scenes[: self.pictures]
        self._keep(pictures, scale)
        return round(float(np.mean(obedience(self.kind, pictures, scenes, self._reader))), 4)

    def _draw(self, control: ControlNetModel, probe: Probe, scale: float) -> list[Image.Image]:
        pipeline = StableDiffusionControlNetPipeline(
            vae=self._vae,
            text_encoder=self.base.text_encoder,
            tokenizer=self._tokenizer,
            unet=self.base.unet,
            controlnet=control,
            scheduler=build_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        prompts = [
            caption(s, np.random.default_rng(i), "en", True) for i, s in enumerate(probe.scenes[: self.pictures])
        ]
        with self.run.autocast():
            pictures: list[Image.Image] = pipeline(
                prompts,
                image=probe.hint[: self.pictures],
                num_inference_steps=SAMPLING_STEPS,
                guidance_scale=GUIDANCE,
                controlnet_conditioning_scale=scale,
                generator=[torch.Generator().manual_seed(i) for i in range(self.pictures)],
            ).images
        return pictures

    def _keep(self, pictures: Sequence[Image.Image], scale: float) -> None:
        """A strip of what was drawn, in the run's folder."""
        name = f"waking-{self.run.step:04d}.png" if scale else "waking-without.png"
        sheet_of([pictures]).save(self.run.folder / name)

    def write(self, folder: Path) -> None:
        """All notes, as JSON beside the weights; the maps' kind and the values without control with them."""
        told = {"kind": self.kind, "without": self.without, "steps": self.notes}
        (folder / FILE).write_text(json.dumps(told, separators=(",", ":")) + "\n", encoding="utf-8")


def controlled(
    base: Denoiser, control: ControlNetModel, x: Tensor, t: Tensor, tokens: Tensor, hint: Tensor, scale: float = 1.0
) -> Tensor:
    """The base's v with the ControlNet's residuals added.

    x: (B, 4, h, w); t: (B,); tokens: (B, 64); hint: (B, 3, 8 h, 8 w) in [0, 1]; returns (B, 4, h, w).
    """
    context = base.text_encoder(tokens).last_hidden_state
    down, mid = control(x, t, context, hint, conditioning_scale=scale, return_dict=False)
    return base.unet(
        x, t, context, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
    )[0]
