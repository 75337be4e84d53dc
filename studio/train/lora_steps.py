"""How a LoRA learns, step by step: for the command line, and for a page that trains one while people look on.

Hu et al., 2106.09685: W + (alpha / rank) B A, with A and B of a low rank; B starts at zero, so that the first picture
is the base's. Attention, feed-forward layers and convolutions of the UNet learn, and the text encoder, so that a word
that the base never read gets a meaning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from PIL.Image import Image
from torch import Tensor

from studio.errors import StudioError
from studio.train.lessons import Lessons, tokens_of
from studio.train.lora_files import Weights
from studio.train.run import warmup_cosine
from studio.train.unet import STRATA, sample_times, velocity_target

ADAPTER = "lora"
UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
TARGETS: Mapping[str, tuple[str, ...]] = MappingProxyType({"unet": UNET_TARGETS, "text_encoder": TEXT_TARGETS})
"""Which modules of which part learn."""

Agree = Callable[[list[torch.nn.Parameter]], float]
"""Called between the gradients and the step: may average them with other processes; returns the spent share of the
budget. At 1 the training ends."""


@dataclass(frozen=True)
class Recipe:
    """batch: samples a step, of which `prior_share` show what the base knows already, so that it keeps it."""

    rank: int = 8
    alpha: int = 8
    batch: int = 16
    learning_rate: float = 3e-3
    warmup_steps: int = 20
    flat_until: float = 0.4
    prompt_dropout: float = 0.1
    prior_share: float = 0.25


@dataclass(frozen=True)
class Progress:
    """After a step. fraction: of the budget; picture: now and then what the LoRA draws."""

    step: int
    loss: float
    fraction: float
    picture: Image | None = None


class Learner:
    """A LoRA on the parts of a pipeline, which are changed until `detach`.

    unet, text_encoder: float32, on one device; scheduler: the model's own; targets: what learns of them. Raises
    StudioError for a model that predicts neither noise nor velocity.
    """

    def __init__(
        self,
        unet: Any,
        text_encoder: Any,
        scheduler: Any,
        recipe: Recipe,
        seed: int,
        targets: Mapping[str, Sequence[str]] = TARGETS,
    ) -> None:
        prediction = scheduler.config.prediction_type
        if prediction not in ("epsilon", "v_prediction"):
            raise StudioError("lora_prediction", value=prediction)
        self.parts = {"unet": unet, "text_encoder": text_encoder}
        self.recipe, self.step_count, self._targets = recipe, 0, targets
        self._predicts_noise = prediction == "epsilon"
        self._processors = dict(unet.attn_processors)
        self.device = next(unet.parameters()).device
        self._alpha_bar = scheduler.alphas_cumprod.to(self.device)
        if self.device.type == "cpu":
            unet.set_attn_processor(AttnProcessor())  # its backward pass is faster than the fused one's on a CPU
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for part in self.parts.values():
                part.requires_grad_(False)
            for name, modules in targets.items():
                config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(modules))
                inject_adapter_in_model(config, self.parts[name], ADAPTER)
        self.parameters = [p for part in self.parts.values() for p in part.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self.parameters, recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )

    def step(self, loss: Tensor, agree: Agree) -> tuple[float, float]:
        """Learn from a batch's loss; returns it and the spent fraction of the budget."""
        loss.backward()
        fraction = agree(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        factor = warmup_cosine(fraction, self.step_count, self.recipe.warmup_steps, self.recipe.flat_until)
        self._optimizer.param_groups[0]["lr"] = factor * self.recipe.learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step_count += 1
        return float(loss.detach()), fraction

    def loss(self, x0: Tensor, t: Tensor, tokens: Tensor, eps: Tensor) -> Tensor:
        """Mean squared error of what the model predicts: noise or velocity.

        x0, eps: (B, C, h, w), latents and noise; t: (B,) times; tokens: (B, L); on any device.
        """
        x0, t, tokens, eps = (part.to(self.device) for part in (x0, t, tokens, eps))
        xt, v = velocity_target(x0, eps, self._alpha_bar[t])
        with torch.autocast(self.device.type, torch.bfloat16):
            context = self.parts["text_encoder"](tokens).last_hidden_state
            predicted = self.parts["unet"](xt, t, context, return_dict=False)[0]
        return (predicted.float() - (eps if self._predicts_noise else v)).square().mean()

    def weights(self) -> Weights:
        """The matrices of each part that learns, by module."""
        return {
            part: {
                name: (
                    module.get_parameter(f"{name}.lora_A.{ADAPTER}.weight"),
                    module.get_parameter(f"{name}.lora_B.{ADAPTER}.weight"),
                )
                for name, layer in module.named_modules()
                if isinstance(layer, BaseTunerLayer)
            }
            for part, module in self._taught()
        }

    @torch.no_grad()
    def round(self) -> None:
        """To the half precision that a file has."""
        for p in self.parameters:
            p.copy_(p.half())

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """The base alone, for a while."""
        layers = [m for _, part in self._taught() for m in part.modules() if isinstance(m, BaseTunerLayer)]
        for layer in layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)

    def detach(self) -> None:
        """Take the LoRA off: the parts are again what they were."""
        for _, part in self._taught():
            found = [(name, layer) for name, layer in part.named_modules() if isinstance(layer, BaseTunerLayer)]
            for name, layer in found:
                parent, _, child = name.rpartition(".")
                setattr(part.get_submodule(parent), child, layer.get_base_layer())
            del part.peft_config
        self.parts["unet"].set_attn_processor(self._processors)

    def _taught(self) -> list[tuple[str, Any]]:
        """The parts that learn, with their names."""
        return [(name, self.parts[name]) for name in self._targets]

    def state_dict(self) -> dict[str, Any]:
        return {
            "weights": [p.detach() for p in self.parameters],
            "optimizer": self._optimizer.state_dict(),
            "step": self.step_count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for p, kept in zip(self.parameters, state["weights"], strict=True):
                p.copy_(kept)
        self._optimizer.load_state_dict(state["optimizer"])
        self.step_count = state["step"]


def within(seconds: float) -> Agree:
    """A budget of time for one process, that starts now."""
    started = time.monotonic()
    return lambda parameters: (time.monotonic() - started) / seconds


def lora_steps(
    learner: Learner,
    lessons: Lessons,
    agree: Agree,
    tokenizer: Any,
    prior: Lessons | None = None,
    seed: int = 0,
    sketch: Callable[[], Image] | None = None,
    sketch_every_seconds: float = 10.0,
) -> Iterator[Progress]:
    """Learn until the budget is spent, and tell of every step; between two of them the device is the caller's.

    prior: what the base knows already; sketch: draws what the LoRA can by now, at the first step, every so many seconds
    and at the end. To stop early, stop asking.
    """
    empty = tokens_of(tokenizer, [""])[0]
    rng = np.random.default_rng((seed, learner.step_count, 11))
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 40)))
    sketched, fraction = -float("inf"), 0.0
    while fraction < 1:
        x0, t, tokens = mixed(lessons, prior, learner.recipe, empty, rng)
        noise = torch.randn(x0.shape, generator=generator)
        loss, fraction = learner.step(learner.loss(x0, t, tokens, noise), agree)
        picture = None
        if sketch is not None and (fraction >= 1 or time.monotonic() - sketched > sketch_every_seconds):
            picture, sketched = sketch(), time.monotonic()
        yield Progress(learner.step_count, loss, min(fraction, 1.0), picture)


def mixed(
    lessons: Lessons, prior: Lessons | None, recipe: Recipe, empty: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, C, h, w), times (B,) and tokens (B, L) of random lessons, some of them prior ones, some captions
    emptied."""
    kept = round(recipe.batch * recipe.prior_share) if prior is not None else 0
    parts = [_drawn(lessons, recipe.batch - kept, rng)] + ([_drawn(prior, kept, rng)] if prior and kept else [])
    latents, tokens = (torch.cat(found) for found in zip(*parts, strict=True))
    dropped = torch.from_numpy(rng.random(recipe.batch) < recipe.prompt_dropout)
    return latents, torch.from_numpy(sample_times(recipe.batch, rng)), torch.where(dropped[:, None], empty, tokens)


def _drawn(lessons: Lessons, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    picks = torch.from_numpy(rng.integers(len(lessons), size=count))
    texts = torch.from_numpy(rng.integers(lessons.tokens.shape[1], size=count))
    return lessons.latents[picks], lessons.tokens[picks, texts]


@torch.no_grad()
def fixed_loss(learner: Learner, lessons: Lessons) -> float:
    """The loss on all lessons with their first captions, stratified times and fixed noise: comparable."""
    generator, total = torch.Generator().manual_seed(5), 0.0
    t = ((torch.arange(len(lessons)) % STRATA + 0.5) * 1000 / STRATA).long()
    for start in range(0, len(lessons), STRATA):
        rows = slice(start, start + STRATA)
        x0 = lessons.latents[rows]
        batch = (x0, t[rows], lessons.tokens[rows, 0], torch.randn(x0.shape, generator=generator))
        total += float(learner.loss(*batch)) * len(x0)
    return total / len(lessons)
