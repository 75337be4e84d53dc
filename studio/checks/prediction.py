"""Checks of what can be said at one noise level: the posterior, the losses, the four ways to predict."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from studio.checks.check import FEW, Check, Subject, distance, few, standard_errors
from studio.diffusion import process
from studio.diffusion.parameterisations import KINDS, convert
from studio.diffusion.process import noise, q_posterior, q_sample, signal


def _inner_t(on: Subject) -> int:
    """The subject's t, moved off the ends: at t = 0 the posterior is a point, and at zero terminal SNR alpha is 0."""
    at_end = on.schedule.has_zero_terminal_snr and on.t == on.schedule.T - 1
    return max(on.t - at_end, 1)


def _bayes(on: Subject) -> float:
    """The posterior against the product of its two Gaussians, by their precisions."""
    t, schedule = _inner_t(on), on.schedule
    xt = q_sample(on.x0, t, on.eps, schedule)
    alpha, beta, before = float(schedule.alphas[t]), float(schedule.betas[t]), schedule.alpha_bar(t - 1)
    precision = alpha / beta + 1 / (1 - before)
    mean = (math.sqrt(alpha) / beta * xt + math.sqrt(before) / (1 - before) * on.x0) / precision
    ours, variance = q_posterior(on.x0, xt, t, schedule)
    return max(distance(ours, mean), distance(variance * precision, torch.ones_like(variance)))


def _eps_form(on: Subject) -> float:
    """The mean from the noise against the mean from the picture, where both say the same."""
    t = _inner_t(on)
    xt = q_sample(on.x0, t, on.eps, on.schedule)
    return distance(process.p_mean(xt, t, on.eps, on.schedule), q_posterior(on.x0, xt, t, on.schedule)[0])


def _kl_is_mse(on: Subject) -> float:
    """The bound's KL, from means and variances, against the weighted square of the difference of the noises."""
    t = _inner_t(on)
    xt = q_sample(on.x0, t, on.eps, on.schedule)
    kl = process.step_kl(on.x0, xt, t, on.guess, on.schedule).mean()
    weight = process.dropped_weight(t, on.schedule.posterior_variances, on.x0[:1], on.schedule).squeeze()
    expected = weight * process.noise_loss(on.eps, on.guess)
    return float((kl - expected).abs() / expected.clamp(min=1e-9))


def _zero_predictor(on: Subject) -> float:
    """Standard errors between 1 and the loss of a network that always says 0."""
    eps = on.eps.reshape(-1)[:FEW]
    loss = process.noise_loss(eps, torch.zeros_like(eps))
    return abs(float(loss) - 1) / math.sqrt(2 / len(eps))


def _loss_kinds(on: Subject) -> float:
    """Both losses against torch's own: the option must really change what is computed."""
    wanted = torch.stack([F.l1_loss(on.guess, on.eps), F.mse_loss(on.guess, on.eps)])
    ours = [process.noise_loss(on.eps, on.guess, "l1"), process.noise_loss(on.eps, on.guess, "l2")]
    return distance(torch.stack(ours), wanted)


def _round_trip(on: Subject) -> float:
    """Every prediction said in every other way and back, at every t; where x_t holds no signal only what is defined.

    Where sqrt(alpha_bar_t) is divided by, the error counts times that: so many digits are gone with the signal.
    """
    schedule, t = on.schedule, torch.arange(on.schedule.T)
    x0 = few(on.x0, 64).expand(schedule.T, -1)
    eps = few(on.eps, 64).expand_as(x0)
    xt = q_sample(x0, t, eps, schedule)
    worst = 0.0
    for source in KINDS:
        value = convert(x0, "x0", source, xt, t, schedule)
        for target in KINDS:
            needs_signal = bool({source, target} & {"eps", "score"} and {source, target} & {"x0", "v"})
            some = slice(schedule.T - 1 if needs_signal and schedule.has_zero_terminal_snr else None)
            there = convert(value[some], source, target, xt[some], t[some], schedule)
            back = convert(there, target, source, xt[some], t[some], schedule)
            cost = signal(t[some], back, schedule) if needs_signal else 1.0
            worst = max(worst, distance(cost * back, cost * value[some]))
    return worst


def _score(on: Subject) -> float:
    """-eps / sqrt(1 - alpha_bar_t) against the gradient of log q(x_t | x_0), by autograd."""
    with torch.enable_grad():
        xt = on.xt.requires_grad_(True)
        s = noise(on.t, xt, on.schedule)
        law = torch.distributions.Normal(signal(on.t, xt, on.schedule) * on.x0, s)
        (gradient,) = torch.autograd.grad(law.log_prob(xt).sum(), xt)
    score = convert(on.eps, "eps", "score", on.xt, on.t, on.schedule)
    return distance(_relative(score, s), _relative(gradient, s))


def _relative(score: Tensor, s: Tensor) -> Tensor:
    """A score in units of the noise, so that it is near 1 at every t."""
    return score * s


def _posterior_sampled(on: Subject) -> float:
    """Draw pairs of x_t and x_{t-1}: what is left of x_{t-1} beside the posterior's mean must have its variance."""
    t, schedule, generator = _inner_t(on), on.schedule, on.generator(2)
    x0 = few(on.x0)
    before, step = (torch.randn(x0.shape, generator=generator, dtype=x0.dtype) for _ in range(2))
    previous = q_sample(x0, t - 1, before, schedule)
    mean, variance = q_posterior(x0, process.q_step(previous, t, step, schedule), t, schedule)
    return standard_errors((previous - mean) / variance.sqrt(), 0.0, 1.0)


CHECKS = (
    Check(
        "posterior.bayes",
        r"q(x_{t-1} | x_t, x_0) \propto q(x_t | x_{t-1})\, q(x_{t-1} | x_0)",
        "DDPM (2006.11239), eq. 6, 7",
        _bayes,
        1e-9,
        ("x0", "eps", "schedule", "t"),
        least_T=3,
    ),
    Check(
        "posterior.sampled",
        r"x_{t-1} \sim \mathcal N(\tilde\mu_t(x_t, x_0), \tilde\beta_t I)",
        "DDPM (2006.11239), eq. 6, 7",
        _posterior_sampled,
        4.0,
        ("x0", "schedule", "t", "seed"),
        least_T=3,
    ),
    Check(
        "posterior.eps_form",
        r"(x_t - \beta_t\, \epsilon / \sqrt{1 - \bar\alpha_t}) / \sqrt{\alpha_t} = \tilde\mu_t(x_t, x_0)",
        "DDPM (2006.11239), eq. 11",
        _eps_form,
        1e-9,
        ("x0", "eps", "schedule", "t"),
        least_T=3,
    ),
    Check(
        "loss.kl_is_mse",
        r"L_{t-1} = \frac{\beta_t^2}{2 \sigma_t^2 \alpha_t (1 - \bar\alpha_t)} \|\epsilon - \epsilon_\theta\|^2",
        "DDPM (2006.11239), eq. 12",
        _kl_is_mse,
        1e-6,
        ("x0", "eps", "guess", "schedule", "t"),
        least_T=3,
    ),
    Check(
        "loss.zero_predictor",
        r"\mathbb E\, \|\epsilon - 0\|^2 / d = 1",
        "DDPM (2006.11239), eq. 14",
        _zero_predictor,
        4.0,
        ("eps",),
    ),
    Check(
        "loss.kinds",
        r"L_1 = \overline{|\epsilon - \epsilon_\theta|}, \quad L_2 = \overline{(\epsilon - \epsilon_\theta)^2}",
        "torch.nn.functional",
        _loss_kinds,
        1e-12,
        ("eps", "guess"),
    ),
    Check(
        "prediction.round_trip",
        r"\epsilon \leftrightarrow x_0 \leftrightarrow v \leftrightarrow s",
        "Salimans and Ho (2202.00512), appendix D",
        _round_trip,
        1e-10,
        ("x0", "eps", "schedule"),
    ),
    Check(
        "prediction.score",
        r"\nabla \log q(x_t | x_0) = -\epsilon / \sqrt{1 - \bar\alpha_t}",
        "Luo (2208.11970), eq. 151",
        _score,
        1e-9,
        ("x0", "eps", "schedule", "t"),
    ),
)
