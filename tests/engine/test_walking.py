"""Walks of a small network that was never trained: they repeat, they fork where they are told, they refuse nonsense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from studio.diffusion.schedules import cosine
from studio.diffusion.unet import UNet
from studio.engine.pixel import PixelModel
from studio.engine.walking import Walk, forked, walked
from studio.errors import InvalidInput

WALK = Walk("cat", 6, "ddpm", "beta_tilde", 2.0, 3)


@pytest.fixture(scope="module")
def model() -> PixelModel:
    torch.manual_seed(0)
    net = UNet(8, (1, 2), classes=2).eval().requires_grad_(False)
    return PixelModel(net, cosine(100), ("cat", "house"), 8)


def end(steps: list[Any]) -> torch.Tensor:
    return steps[-1].next


def test_a_walk_repeats_and_its_seed_and_kind_matter(model: PixelModel):
    assert len(walked(model, WALK)) == 6
    assert torch.equal(end(walked(model, WALK)), end(walked(model, WALK)))
    for other in (replace(WALK, seed=4), replace(WALK, kind="house"), replace(WALK, sigma="zero")):
        assert not torch.equal(end(walked(model, WALK)), end(walked(model, other)))


def test_a_fork_shares_its_beginning_and_nothing_else(model: PixelModel):
    one, other = walked(model, WALK), forked(model, WALK, 4, "house", 2.0, 9)
    assert [step.t for step in one] == [step.t for step in other]
    assert all(torch.equal(a.xt, b.xt) for a, b in zip(one[:5], other[:5], strict=True))
    assert not torch.equal(end(one), end(other))


def test_noise_at_the_last_step_is_left_in_the_picture(model: PixelModel):
    noisy = replace(WALK, noise_at_last=True, sigma="beta")
    quiet = replace(WALK, sigma="beta")
    assert not torch.equal(end(walked(model, noisy)), end(walked(model, quiet)))


def test_without_a_label_the_guidance_does_nothing(model: PixelModel):
    walks = [walked(model, replace(WALK, kind="any", gamma=gamma)) for gamma in (0.0, 5.0)]
    assert torch.equal(end(walks[0]), end(walks[1]))


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("steps", 2.5), ("seed", -1), ("sampler", "plms"), ("sigma", "x"), ("gamma", 99.0), ("gamma", None)],
)
def test_a_bad_knob_is_refused_by_name(field: str, value: Any):
    with pytest.raises(InvalidInput, match=field):
        replace(WALK, **{field: value})


def test_an_unknown_kind_and_a_fork_beyond_the_end_are_refused(model: PixelModel):
    with pytest.raises(InvalidInput, match="kind"):
        walked(model, replace(WALK, kind="dragon"))
    with pytest.raises(InvalidInput, match="fork"):
        forked(model, WALK, 6, "house", 1.0, 0)
