"""Two games with the DDPM on pixels: guess the noise against the network, and tell true pictures from drawn ones.

Whoever says which picture is hidden says the noise, too: eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studio.diffusion.parameterisations import convert
from studio.diffusion.process import noise_loss, q_sample, to_signed
from studio.diffusion.samplers import ddim
from studio.diffusion.unet import told
from studio.diffusion.walk import last, spaced
from studio.engine.noising import noise_of, whole
from studio.engine.pixel import PixelModel

CHOICES, QUIZ, LEVELS, DRAW_STEPS, GAMMA = 4, 8, (100, 300, 500, 700, 850), 25, 2.0
Rendered = Callable[[int, int], NDArray[np.uint8]]
"""(seed, count) -> true pictures that no training saw, (count, side, side, 3)."""


@dataclass(frozen=True, eq=False)
class Riddle:
    """A noised picture and those that it may be. pictures: (CHOICES, 3, side, side); answer: which it is."""

    pictures: Tensor
    xt: Tensor
    eps: Tensor
    t: int
    answer: int


@dataclass(frozen=True)
class Verdict:
    """Squared errors of the noise: of the person's guess, of the network's, and of guessing nothing; and whether the
    person found the picture."""

    person: float
    network: float
    nothing: float
    right: bool


def riddle(seed: int, rendered: Rendered, model: PixelModel) -> Riddle:
    """The riddle that a seed stands for."""
    rng = np.random.default_rng(seed)
    pictures = to_signed(torch.from_numpy(rendered(seed, CHOICES))).permute(0, 3, 1, 2)
    answer, t = int(rng.integers(CHOICES)), int(rng.choice(LEVELS)) * model.schedule.T // 1000
    x0 = pictures[answer : answer + 1]
    eps = noise_of(x0, seed)
    return Riddle(pictures, q_sample(x0, t, eps, model.schedule), eps, t, answer)


@torch.inference_mode()
def judge(asked: Riddle, guess: object, model: PixelModel) -> Verdict:
    """What a guess, from 0 to CHOICES - 1, comes to. Raises InvalidInput for another one."""
    chosen = asked.pictures[whole("guess", guess, 0, CHOICES - 1)][None]
    said = convert(chosen, "x0", "eps", asked.xt, asked.t, model.schedule)
    answered = told(model.net)(asked.xt, asked.t)
    own, network, silent = (float(noise_loss(asked.eps, one)) for one in (said, answered, torch.zeros_like(asked.eps)))
    return Verdict(own, network, silent, right=guess == asked.answer)


@dataclass(frozen=True, eq=False)
class Quiz:
    """QUIZ pictures, in [-1, 1]; drawn: which of them the network drew."""

    pictures: Tensor
    drawn: tuple[bool, ...]

    def score(self, said: set[int]) -> int:
        """How many are told apart rightly, when those in `said` are said to be drawn."""
        return sum((place in said) == drawn for place, drawn in enumerate(self.drawn))


@torch.inference_mode()
def quiz(seed: int, rendered: Rendered, model: PixelModel) -> Quiz:
    """The quiz that a seed stands for: from two to six of the pictures are drawn."""
    rng = np.random.default_rng((seed, 1))
    places = set(rng.permutation(QUIZ)[: int(rng.integers(2, 7))].tolist())
    true = to_signed(torch.from_numpy(rendered(seed, QUIZ))).permute(0, 3, 1, 2)
    labels = torch.from_numpy(rng.integers(len(model.classes), size=QUIZ))
    timesteps = spaced(model.schedule.T, min(DRAW_STEPS, model.schedule.T))
    made = last(ddim(model.denoiser(labels, GAMMA), model.noise(QUIZ, seed), timesteps, model.schedule))
    drawn = tuple(place in places for place in range(QUIZ))
    return Quiz(torch.where(torch.tensor(drawn)[:, None, None, None], made, true), drawn)
