"""The games: who knows the picture knows the noise, and the score counts what was told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from studio.diffusion.schedules import cosine
from studio.diffusion.unet import UNet
from studio.engine.pixel import PixelModel
from studio.engine.riddles import CHOICES, QUIZ, judge, quiz, riddle
from studio.errors import InvalidInput


@pytest.fixture(scope="module")
def model() -> PixelModel:
    torch.manual_seed(0)
    net = UNet(8, (1, 2), classes=2).eval().requires_grad_(False)
    return PixelModel(net, cosine(100), ("cat", "house"), 8)


def rendered(seed: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_who_finds_the_picture_has_no_loss_and_nobody_else(model: PixelModel):
    asked = riddle(3, rendered, model)
    verdicts = [judge(asked, guess, model) for guess in range(CHOICES)]
    assert [one.right for one in verdicts] == [place == asked.answer for place in range(CHOICES)]
    assert verdicts[asked.answer].person < 1e-8
    assert all(one.person > 0.001 for one in verdicts if not one.right)
    assert all(one.nothing == pytest.approx(1, abs=0.3) for one in verdicts)


def test_a_wrong_picture_costs_less_the_noisier_it_is(model: PixelModel):
    asked = riddle(3, rendered, model)
    wrong = (asked.answer + 1) % CHOICES
    costs = []
    for t in (20, 60, 95):
        alpha_bar = model.schedule.alpha_bar(t)
        xt = alpha_bar**0.5 * asked.pictures[asked.answer][None] + (1 - alpha_bar) ** 0.5 * asked.eps
        costs.append(judge(replace(asked, t=t, xt=xt), wrong, model).person)
    assert costs[0] > costs[1] > costs[2]


def test_equal_seeds_ask_equal_riddles(model: PixelModel):
    one, again, other = (riddle(seed, rendered, model) for seed in (1, 1, 2))
    assert torch.equal(one.xt, again.xt) and (one.t, one.answer) == (again.t, again.answer)
    assert not torch.equal(one.xt, other.xt)


@pytest.mark.parametrize("guess", [-1, CHOICES, None, "A"])
def test_a_guess_that_is_none_is_refused(model: PixelModel, guess: object):
    with pytest.raises(InvalidInput, match="guess"):
        judge(riddle(0, rendered, model), guess, model)


def test_a_quiz_shows_true_pictures_and_drawn_ones_and_counts_them(model: PixelModel):
    asked, true = quiz(5, rendered, model), torch.from_numpy(rendered(5, QUIZ)).permute(0, 3, 1, 2) / 127.5 - 1
    same = [bool(torch.allclose(a, b, atol=1e-5)) for a, b in zip(asked.pictures, true, strict=True)]
    assert same == [not own for own in asked.drawn]
    assert 2 <= sum(asked.drawn) <= 6
    drawn = {place for place, own in enumerate(asked.drawn) if own}
    assert asked.score(drawn) == QUIZ
    assert asked.score(set(range(QUIZ)) - drawn) == 0
