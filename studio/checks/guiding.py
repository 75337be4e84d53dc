"""Checks of guidance: classifier-free, by a classifier, and what they sample where everything is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from studio.checks.check import Check, Subject, differs, distance
from studio.diffusion import guidance
from studio.diffusion.langevin import annealed_langevin, falling
from studio.diffusion.mixture import Mixture, gaussian, islands
from studio.diffusion.parameterisations import Denoiser, convert
from studio.diffusion.samplers import ddim, ddpm, sigma_beta_tilde
from studio.diffusion.schedules import Schedule, cosine
from studio.diffusion.walk import last

LABEL = 1
LAW_GAMMA = 3.0
LAW_T = 1000


def _mixed(on: Subject, gamma: float) -> Tensor:
    return guidance.classifier_free(on.guess_plain, on.guess, gamma)


def _affine(on: Subject) -> float:
    """gamma's answer against the line through those of 0 and 1."""
    return distance(_mixed(on, on.gamma), (1 - on.gamma) * on.guess_plain + on.gamma * on.guess)


def _world(on: Subject) -> tuple[Mixture, Tensor]:
    """The islands at the page's noise level, and points on them. (64, 2)"""
    noised = islands().noised(on.schedule.alpha_bar(on.t))
    return noised, noised.sample(64, on.generator(7))


def _autograd(on: Subject) -> float:
    """The written score against the gradient of the density."""
    world, x = _world(on)
    return distance(world.score(x), guidance.classifier_gradient(world.log_prob, x))


def _bayes(on: Subject) -> float:
    """grad log p(x|y) against grad log p(x) + grad log p(y|x), the last by autograd through the classifier."""
    world, x = _world(on)
    classifier = guidance.classifier_gradient(lambda at: world.log_class_prob(at, LABEL), x)
    return distance(world.given(LABEL).score(x), world.score(x) + classifier)


def _classifier_form(on: Subject) -> float:
    """Guided noise, said as a score, against the guided score."""
    world, x = _world(on)
    gradient = guidance.classifier_gradient(lambda at: world.log_class_prob(at, LABEL), x)
    eps = convert(world.score(x), "score", "eps", x, on.t, on.schedule)
    guided = guidance.classifier_guided(eps, gradient, on.t, on.gamma, on.schedule)
    score = convert(guided, "eps", "score", x, on.t, on.schedule)
    return distance(score, world.score(x) + on.gamma * gradient)


def _same_guidance(on: Subject) -> float:
    """With the perfect classifier both ways to guide are one."""
    world, x = _world(on)
    gradient = guidance.classifier_gradient(lambda at: world.log_class_prob(at, LABEL), x)
    free = guidance.classifier_free(world.score(x), world.given(LABEL).score(x), on.gamma)
    return distance(free, world.score(x) + on.gamma * gradient)


def _guided_pair(schedule: Schedule, gamma: float) -> Denoiser:
    """p(x|y) = N(0, 1) against p(x) = N(0, 2), each perfectly denoised, mixed."""
    return guidance.guided(gaussian(2.0).denoiser(schedule), gaussian(1.0).denoiser(schedule), gamma)


def ddim_sampled_variance(gamma: float, schedule: Schedule) -> float:
    """What DDIM makes of N(0, 1) noise under guidance: the walk is linear, so its factor of x_T says all."""
    one = torch.ones(1, 1, dtype=torch.float64)
    times = range(schedule.T - 1, -1, -1)
    return float(last(ddim(_guided_pair(schedule, gamma), one, times, schedule))) ** 2


def ddpm_sampled_variance(gamma: float, schedule: Schedule) -> float:
    """The same of DDPM: each step's factor of x, measured without noise, and the noise's variance added."""
    one, denoise, variance = torch.ones(1, 1, dtype=torch.float64), _guided_pair(schedule, gamma), 1.0
    for t in range(schedule.T - 1, -1, -1):
        step = next(iter(ddpm(denoise, one, [t, t - 1] if t else [t], schedule, sigma="zero")))
        added = sigma_beta_tilde(schedule.alpha_bar(t), schedule.alpha_bar(t - 1)) ** 2 if t else 0.0
        variance = float(step.next) ** 2 * variance + added
    return variance


def _law_tilted(on: Subject) -> float:
    """The variance of p(x|y)^gamma p(x)^(1 - gamma), summed over a fine grid."""
    x = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
    tilted = LAW_GAMMA * gaussian(1.0).log_prob(x) + (1 - LAW_GAMMA) * gaussian(2.0).log_prob(x)
    weights = tilted.softmax(0)
    return abs(float(weights @ x[:, 0].square()) - guidance.tilted_variance(LAW_GAMMA))


def _law_ddim(on: Subject) -> float:
    return abs(ddim_sampled_variance(LAW_GAMMA, cosine(LAW_T)) - guidance.ddim_variance(LAW_GAMMA))


def _law_ddpm(on: Subject) -> float:
    return abs(ddpm_sampled_variance(LAW_GAMMA, cosine(LAW_T)) - guidance.ddpm_variance(LAW_GAMMA))


def _langevin(on: Subject) -> float:
    """Mean and covariance of annealed Langevin's points against the mixture's, in units of its width."""
    world = islands()
    x = 3 * torch.randn(2_000, 2, generator=on.generator(8), dtype=torch.float64)
    walk = annealed_langevin(
        lambda at, sigma: world.blurred(sigma).score(at), x, falling(3.0, 0.05, 16), 20, 3e-4, on.generator(9)
    )
    for found in walk:
        x = found
    mean, covariance = world.moments()
    off = torch.cat([(x.mean(0) - mean) / covariance.trace().sqrt(), (x.T.cov() - covariance).flatten()])
    return float(off.abs().max() / max(1.0, math.sqrt(float(covariance.trace()))))


CHECKS = (
    Check(
        "guidance.zero",
        r"\gamma = 0 \Rightarrow \epsilon_\gamma = \epsilon_\theta(x_t)",
        "Luo (2208.11970), eq. 170",
        lambda on: differs(_mixed(on, 0.0), on.guess_plain),
        0.0,
        ("guess", "guess_plain"),
    ),
    Check(
        "guidance.one",
        r"\gamma = 1 \Rightarrow \epsilon_\gamma = \epsilon_\theta(x_t, y)",
        "Luo (2208.11970), eq. 170",
        lambda on: differs(_mixed(on, 1.0), on.guess),
        0.0,
        ("guess", "guess_plain"),
    ),
    Check(
        "guidance.affine",
        r"\epsilon_\gamma = (1 - \gamma)\, \epsilon_\theta(x_t) + \gamma\, \epsilon_\theta(x_t, y)",
        "Luo (2208.11970), eq. 168-170",
        _affine,
        1e-12,
        ("guess", "guess_plain", "gamma"),
    ),
    Check(
        "guidance.bayes",
        r"\nabla \log p(x_t | y) = \nabla \log p(x_t) + \nabla \log p(y | x_t)",
        "Luo (2208.11970), eq. 163-165",
        _bayes,
        1e-10,
        ("schedule", "t", "seed"),
    ),
    Check(
        "guidance.classifier",
        r"\hat\epsilon = \epsilon_\theta - \gamma \sqrt{1 - \bar\alpha_t}\, \nabla \log p(y | x_t)",
        "Dhariwal and Nichol (2105.05233), eq. 14",
        _classifier_form,
        1e-9,
        ("schedule", "t", "gamma", "seed"),
    ),
    Check(
        "guidance.same",
        r"s + \gamma (s_y - s) = s + \gamma \nabla \log p(y | x_t)",
        "Luo (2208.11970), eq. 166, 168",
        _same_guidance,
        1e-9,
        ("schedule", "t", "gamma", "seed"),
    ),
    Check(
        "guidance.law_tilted",
        r"\mathrm{Var}[p(x|y)^\gamma p(x)^{1-\gamma}] = 2 / (\gamma + 1)",
        "Bradley and Nakkiran (2408.09000)",
        _law_tilted,
        1e-6,
    ),
    Check(
        "guidance.law_ddim",
        r"\mathrm{Var}_{\mathrm{DDIM}} = 2^{1 - \gamma}",
        "Bradley and Nakkiran (2408.09000)",
        _law_ddim,
        5e-3,
    ),
    Check(
        "guidance.law_ddpm",
        r"\mathrm{Var}_{\mathrm{DDPM}} = (2 - 2^{2 - 2\gamma}) / (2\gamma - 1)",
        "Bradley and Nakkiran (2408.09000)",
        _law_ddpm,
        5e-3,
    ),
    Check(
        "mixture.score",
        r"\nabla \log p(x) = \sum_k p(k | x)\, (m_k - x) / v_k",
        "autograd",
        _autograd,
        1e-10,
        ("schedule", "t", "seed"),
    ),
    Check(
        "mixture.langevin",
        r"x \leftarrow x + \tfrac{a}{2} s(x, \sigma) + \sqrt{a}\, z",
        "Song and Ermon (1907.05600), algorithm 1",
        _langevin,
        0.1,
        ("seed",),
    ),
)
