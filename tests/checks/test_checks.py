from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from studio.checks import CHECKS, Check, adapters, coding, forward, network, prediction, sampling, subject
from studio.diffusion import blocks, lora, mixture, parameterisations, process
from studio.diffusion import guidance as guide
from studio.diffusion.schedules import MAX_T, SCHEDULES, Schedule, zero_terminal_snr
from studio.text import LANGUAGES, table

BY_ID = {check.id: check for check in CHECKS}
OF_THE_PAGE = [check for check in CHECKS if {"schedule", "t"} & set(check.uses)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_check_is_green(check: Check):
    light = check.run(subject(seed=3))
    assert light.holds, light.value


def test_ids_are_unique_and_named_after_their_group():
    assert len(BY_ID) == len(CHECKS)
    assert all(re.fullmatch(r"[a-z_]+\.[a-z0-9_]+", check.id) for check in CHECKS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_check_has_a_title_and_no_title_is_left_over(language: str):
    titles = {key.removeprefix("check.") for key in table(language) if key.startswith("check.")}
    assert titles == set(BY_ID)


def test_every_check_names_its_formula_and_its_source():
    assert all(check.formula and check.source and check.tolerance >= 0 for check in CHECKS)


@settings(max_examples=15, deadline=None, derandomize=True)  # what is left to chance is 4 standard errors wide
@given(
    T=st.one_of(st.integers(1, 8), st.integers(1, MAX_T)),
    name=st.sampled_from(sorted(SCHEDULES)),
    share=st.floats(0, 1),
    zero=st.booleans(),
    gamma=st.floats(0, 15),
)
def test_the_lights_stay_green_on_any_schedule_and_time(T: int, name: str, share: float, zero: bool, gamma: float):
    schedule = zero_terminal_snr(SCHEDULES[name](T)) if zero and T > 1 else SCHEDULES[name](T)
    on = subject(schedule=schedule, t=round(share * (T - 1)), gamma=gamma)
    red = {check.id: check.run(on).value for check in OF_THE_PAGE if check.applies(on) and not check.run(on).holds}
    assert red == {}


@pytest.mark.parametrize("shape", [(1, 3, 64, 48), (5, 1), (2, 4, 16, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_lights_stay_green_on_one_s_own_pictures(shape: tuple[int, ...], dtype: torch.dtype):
    own = (torch.rand(shape, generator=torch.Generator().manual_seed(7)) * 2 - 1).to(dtype)
    on = subject(x0=own)
    used = [check for check in CHECKS if {"x0", "eps", "guess"} & set(check.uses)]
    assert {check.id: light.value for check in used if not (light := check.run(on)).holds} == {}


def test_pictures_of_inference_mode_can_be_checked_inside_it():
    with torch.inference_mode():
        on = subject(x0=torch.zeros(1, 3, 8, 8) + 0.5)
        assert all(
            BY_ID[id].run(on).holds for id in ("prediction.score", "guidance.bayes", "zero_conv.learns", "vae.gradient")
        )


def test_a_guess_that_is_perfect_is_green_too():
    on = subject()
    perfect = replace(on, guess=on.eps, guess_plain=on.eps)
    assert all(check.run(perfect).holds for check in CHECKS if "guess" in check.uses)


class Broken:
    """Puts something wrong into the place of what a check looks at."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def function(self, place: Any, name: str, wrap: Callable[..., Any]) -> None:
        """`wrap` is called with the right function and its arguments."""
        right = getattr(place, name)
        self.patch.setattr(place, name, lambda *args, **options: wrap(right, *args, **options))

    def of_schedule(self, name: str, wrong: Callable[[Schedule], Tensor]) -> None:
        """A derived row of every schedule."""
        prop = cached_property(wrong)
        prop.__set_name__(Schedule, name)
        self.patch.setattr(Schedule, name, prop)


def added(amount: float) -> Callable[..., Any]:
    """A result that is off by a little."""
    return lambda right, *args, **options: right(*args, **options) + amount


def scaled(factor: float) -> Callable[..., Any]:
    return lambda right, *args, **options: factor * right(*args, **options)


def without_root(right: Any, values: Tensor, t: Any, like: Tensor) -> Tensor:
    """The slip of taking beta where its root belongs."""
    return right(values**2, t, like)


def noisy_walk(right: Any, *args: Any, **options: Any) -> Any:
    """A deterministic sampler that adds noise all the same."""
    return right(*args, **{**options, "eta": 0.5})


def half_step(
    right: Any, denoise: Any, x: Tensor, times: Any, schedule: Schedule, generator: Any = None, **options: Any
) -> Any:
    """A sampler whose steps go a little too far."""
    for step in right(denoise, x, times, schedule, generator, **options):
        yield replace(step, next=1.01 * step.next, xt=1.01 * step.xt)


def always_noise(right: Any, *args: Any, **options: Any) -> Any:
    return right(*args, **{**options, "noise_at_last": True})


def without_short_cut(u: Tensor, c: Tensor, gamma: float) -> Tensor:
    return (1 - gamma) * u * 1.0000001 + gamma * (u + (c - u))


def shifted_posterior(right: Any, *args: Any) -> Any:
    mean, variance = right(*args)
    return mean + 0.01, 1.1 * variance


def of_another_order(broken: Broken, name: str, wrong: str) -> None:
    """One sampler in another's place."""
    broken.patch.setattr(sampling, "SAMPLERS", {**sampling.SAMPLERS, name: sampling.SAMPLERS[wrong]})


def always_l2(right: Any, eps: Tensor, guess: Tensor, kind: str = "l2") -> Tensor:
    """The slip of reading no option."""
    return right(eps, guess, "l2")


def squared(right: Any, t: Any, like: Tensor, schedule: Schedule) -> Tensor:
    """A root that was forgotten."""
    return right(t, like, schedule) ** 2


def too_far(u: Tensor, c: Tensor, gamma: float) -> Tensor:
    """w taken for gamma."""
    return u + (gamma + 1) * (c - u)


def half_cut(m: Tensor, v: Tensor, eps: Tensor) -> Tensor:
    """A code whose spread was drawn outside the graph."""
    return m + (0.5 * v).exp().detach() * eps + 0 * v


def with_scale(wrong: Callable[[float], float]) -> Callable[..., Any]:
    """A picture that is weighed otherwise than it was asked."""
    return lambda right, query, text, picture, scale: right(query, text, picture, wrong(scale))


def one_softmax(right: Any, query: Tensor, text: Any, picture: Any, scale: float) -> Tensor:
    """The slip of letting text and picture share one attention."""
    if scale == 0:
        return right(query, text, picture, scale)
    key, value = (torch.cat(pair, dim=2) for pair in zip(text, picture, strict=True))
    return right(query, (key, value), picture, 0.0)


def nothing(*args: Any) -> None:
    """A layer that is meant to begin with zeros and is left as it was drawn."""


MUTATIONS: dict[str, Callable[[Broken], None]] = {
    "forward.product": lambda b: b.of_schedule("alpha_bars", lambda s: s.alphas.cumprod(0) * 0.999),
    "forward.snr_falls": lambda b: b.of_schedule("snr", lambda s: 1 / s.alpha_bars),
    "forward.unit_variance": lambda b: b.function(process, "at", without_root),
    "forward.jump": lambda b: b.function(forward, "q_step", scaled(0.9999)),
    "forward.steps": lambda b: b.function(process, "at", without_root),
    "forward.prior": lambda b: b.function(forward, "linear", lambda right, T: right(T, beta_end=0.01)),
    "forward.zero_terminal": lambda b: b.function(forward, "zero_terminal_snr", lambda right, s: s),
    "forward.pixels": lambda b: b.function(forward, "to_pixels", lambda right, x: (127.5 * (x + 1)).to(torch.uint8)),
    "posterior.bayes": lambda b: b.function(prediction, "q_posterior", shifted_posterior),
    "posterior.sampled": lambda b: b.function(prediction, "q_posterior", shifted_posterior),
    "posterior.eps_form": lambda b: b.function(process, "p_mean", added(1e-3)),
    "loss.kl_is_mse": lambda b: b.function(process, "dropped_weight", scaled(1.001)),
    "loss.zero_predictor": lambda b: b.function(process, "noise_loss", scaled(2.0)),
    "loss.kinds": lambda b: b.function(process, "noise_loss", always_l2),
    "prediction.round_trip": lambda b: b.function(parameterisations, "signal", squared),
    "prediction.score": lambda b: b.function(parameterisations, "noise", squared),
    "sampler.ddim_is_ddpm": lambda b: b.function(sampling, "ddim", half_step),
    "sampler.ddim_repeats": lambda b: b.function(sampling, "ddim", noisy_walk),
    "sampler.last_step": lambda b: b.function(sampling, "ddpm", always_noise),
    "sampler.recursion": lambda b: b.function(sampling, "ddpm", lambda right, *a, **o: right(*a, sigma="zero")),
    "sampler.euler_is_ddim": lambda b: b.function(sampling, "euler", half_step),
    "sampler.order_euler": lambda b: of_another_order(b, "euler", "heun"),
    "sampler.order_heun": lambda b: of_another_order(b, "heun", "euler"),
    "sampler.order_dpmpp_2m": lambda b: of_another_order(b, "dpmpp_2m", "ddim"),
    "guidance.zero": lambda b: b.patch.setattr(guide, "classifier_free", without_short_cut),
    "guidance.one": lambda b: b.patch.setattr(guide, "classifier_free", without_short_cut),
    "guidance.affine": lambda b: b.patch.setattr(guide, "classifier_free", too_far),
    "guidance.bayes": lambda b: b.function(mixture.Mixture, "log_class_prob", scaled(1.001)),
    "guidance.classifier": lambda b: b.function(guide, "noise", squared),
    "guidance.same": lambda b: b.patch.setattr(guide, "classifier_free", too_far),
    "guidance.law_tilted": lambda b: b.patch.setattr(guide, "tilted_variance", guide.ddim_variance),
    "guidance.law_ddim": lambda b: b.patch.setattr(guide, "ddim_variance", guide.tilted_variance),
    "guidance.law_ddpm": lambda b: b.patch.setattr(guide, "ddpm_variance", guide.ddim_variance),
    "mixture.score": lambda b: b.function(mixture.Mixture, "score", scaled(1.0001)),
    "mixture.langevin": lambda b: b.function(mixture.Mixture, "score", scaled(0.5)),
    "vae.kl": lambda b: b.function(coding, "kl_to_standard_normal", scaled(2.0)),
    "vae.kl_sampled": lambda b: b.function(coding, "kl_to_standard_normal", scaled(1.1)),
    "vae.spread": lambda b: b.patch.setattr(coding, "reparameterise", lambda m, v, eps: m + v.exp() * eps),
    "vae.gradient": lambda b: b.patch.setattr(coding, "reparameterise", half_cut),
    "vae.scale_zero": lambda b: b.function(coding, "reparameterise", lambda right, m, v, eps, scale: right(m, v, eps)),
    "network.embedding": lambda b: b.function(
        blocks.SinusoidalEmbedding, "forward", lambda right, s, t: right(s, t + 1)
    ),
    "network.hears_time": lambda b: b.function(network, "UNet", lambda right, *a, **o: right(*a, **o, uses_time=False)),
    "network.shapes": lambda b: b.function(network.UNet, "forward", lambda right, *a: right(*a)[..., 1:]),
    "network.gate": lambda b: b.function(blocks.BlockAttention, "gate", scaled(3.0)),
    "network.down": lambda b: b.function(blocks.F, "pixel_unshuffle", lambda right, x, n: right(x, n).roll(1, 1)),
    "zero_conv.base": lambda b: b.patch.setattr(nn.init, "zeros_", nothing),
    "zero_conv.learns": lambda b: b.patch.setattr(nn.init, "zeros_", nothing),
    "zero_conv.off": lambda b: b.function(
        adapters.ControlledBlock, "forward", lambda right, block, x, c, scale: right(block, x, c, scale + 1e-6)
    ),
    "zero_conv.sum": lambda b: b.function(adapters, "controlled", scaled(1.001)),
    "lora.base": lambda b: b.patch.setattr(torch, "zeros", torch.ones),
    "lora.merged": lambda b: b.function(lora.LowRank, "delta", scaled(2.0)),
    "lora.unmerged": lambda b: b.function(lora, "unmerged", added(1e-6)),
    "lora.rank": lambda b: b.function(lora.LowRank, "delta", lambda right, self: right(self) + torch.eye(12, 10)),
    "lora.truncated": lambda b: b.function(lora, "truncated", lambda right, delta, rank: right(delta, rank - 1)),
    "ip_adapter.base": lambda b: b.function(adapters, "decoupled_attention", with_scale(lambda scale: scale + 0.01)),
    "ip_adapter.affine": lambda b: b.function(adapters, "decoupled_attention", with_scale(lambda scale: scale**2)),
    "ip_adapter.empty": lambda b: b.function(adapters, "decoupled_attention", one_softmax),
}


def test_every_check_has_a_mutation():
    assert set(MUTATIONS) == set(BY_ID)


@pytest.mark.parametrize("id", sorted(BY_ID))
def test_a_check_turns_red_when_what_it_looks_at_is_wrong(id: str, monkeypatch: pytest.MonkeyPatch):
    MUTATIONS[id](Broken(monkeypatch))
    light = BY_ID[id].run(subject())
    assert not light.holds, light.value
