"""Steering a walk back: towards what a classifier sees, or away from what the model draws without a condition.

gamma: how strongly. 0 ignores the condition, 1 is the plain conditional model, above 1 exaggerates. Ho and Salimans
(2207.12598) count w = gamma - 1; diffusers' guidance_scale is gamma, but takes every value up to 1 for 1.
For any gamma but 0 and 1 the guided field is not the score of the noised data (Bradley and Nakkiran, 2408.09000).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from studio.diffusion.parameterisations import Denoiser
from studio.diffusion.process import Time, noise
from studio.diffusion.schedules import Schedule


def classifier_free(unconditional: Tensor, conditional: Tensor, gamma: float) -> Tensor:
    """Two predictions of one kind (eps, x0, v or score) at one (xt, t), mixed: affine in gamma.

    s_gamma = s(x_t) + gamma (s(x_t, y) - s(x_t))                                    Luo (2208.11970), eq. 168-170
    At 0 and 1 the very tensor is returned: in floats u + (c - u) is not c.
    """
    if gamma == 0:
        return unconditional
    if gamma == 1:
        return conditional
    return unconditional + gamma * (conditional - unconditional)


def classifier_gradient(log_prob: Callable[[Tensor], Tensor], xt: Tensor) -> Tensor:
    """grad over x_t of log p(y | x_t), by autograd. log_prob: (B, ...) -> (B,), each from its own x_t alone.

    Works also inside torch.no_grad and torch.inference_mode.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = xt.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(log_prob(x).sum(), x)
    return gradient


def classifier_guided(eps: Tensor, gradient: Tensor, t: Time, gamma: float, schedule: Schedule) -> Tensor:
    """The noise that an unconditional model predicts, turned by a classifier of noisy pictures.

    eps_hat = eps - gamma sqrt(1 - alpha_bar_t) grad log p(y | x_t)       Dhariwal and Nichol (2105.05233), eq. 14;
                                                                          as a score: Luo (2208.11970), eq. 166
    """
    return eps if gamma == 0 else eps - gamma * noise(t, eps, schedule) * gradient


def guided(unconditional: Denoiser, conditional: Denoiser, gamma: float) -> Denoiser:
    """A denoiser that mixes two by classifier-free guidance; asks only the one where one is enough (gamma 0 or 1)."""
    if gamma in (0, 1):
        return conditional if gamma else unconditional
    return lambda xt, t: classifier_free(unconditional(xt, t), conditional(xt, t), gamma)


def gamma_from_w(w: float) -> float:
    """gamma = 1 + w: from Ho and Salimans' (2207.12598, eq. 6) way of counting to the one used here."""
    return 1 + w


def tilted_variance(gamma: float) -> float:
    """The variance of p(x|y)^gamma p(x)^(1 - gamma) when p(x|y) = N(0, 1) and p(x) = N(0, 2): 2 / (gamma + 1).

    What guidance is often said to sample; it does not (Bradley and Nakkiran, 2408.09000, section 3).
    """
    return 2 / (gamma + 1)


def ddim_variance(gamma: float) -> float:
    """What DDIM really samples from that pair in the limit of many steps: variance 2^(1 - gamma). gamma >= 0."""
    return math.pow(2, 1 - gamma)


def ddpm_variance(gamma: float) -> float:
    """What DDPM really samples from it: variance (2 - 2^(2 - 2 gamma)) / (2 gamma - 1), and 2 log 2 at gamma = 1/2."""
    if gamma == 0.5:
        return 2 * math.log(2)
    return (2 - math.pow(2, 2 - 2 * gamma)) / (2 * gamma - 1)
