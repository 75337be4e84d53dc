"""A world in which everything is known: a mixture of round Gaussians, whose scores are written down, not learnt.

Noised by the forward process it stays such a mixture, so every sampler and every guidance can be held against it.
x: (B, D); K components in D dimensions (the pages use D = 2), each of one class. Everything computes in x's dtype.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from studio.diffusion.parameterisations import Denoiser
from studio.diffusion.schedules import Schedule


@dataclass(frozen=True, eq=False)
class Mixture:
    """p(x) = sum_k w_k N(x; m_k, v_k I). means: (K, D); variances, weights: (K,) that sum to 1; labels: (K,) int64."""

    means: Tensor
    variances: Tensor
    weights: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        shapes = {len(self.means), len(self.variances), len(self.weights), len(self.labels)}
        if self.means.ndim != 2 or len(shapes) != 1:
            raise ValueError("a mixture needs a mean (K, D), a variance, a weight and a label for each component")
        total = float(self.weights.sum())
        if not bool((self.variances > 0).all() and (self.weights > 0).all()) or abs(total - 1) > 1e-6:
            raise ValueError(f"variances and weights must be above 0, and the weights sum to 1; they sum to {total:g}")

    def noised(self, alpha_bar: float) -> Mixture:
        """What the forward process makes of it: means sqrt(alpha_bar) m, variances alpha_bar v + 1 - alpha_bar."""
        return replace(
            self, means=math.sqrt(alpha_bar) * self.means, variances=alpha_bar * self.variances + 1 - alpha_bar
        )

    def blurred(self, sigma: float) -> Mixture:
        """What noise alone makes of it: the means stay, variances v + sigma^2."""
        return replace(self, variances=self.variances + sigma**2)

    def given(self, label: int) -> Mixture:
        """p(x | y): the components of one class. Raises ValueError for a class that has none."""
        chosen = self.labels == label
        if not bool(chosen.any()):
            raise ValueError(f"no component has the label {label}")
        weights = self.weights[chosen]
        return Mixture(self.means[chosen], self.variances[chosen], weights / weights.sum(), self.labels[chosen])

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x). (B, D) -> (B,)"""
        return self._log_joint(x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(k | x): how likely each component made x. (B, D) -> (B, K), rows sum to 1"""
        return self._log_joint(x).softmax(1)

    def score(self, x: Tensor) -> Tensor:
        """grad log p(x) = sum_k p(k | x) (m_k - x) / v_k. (B, D) -> (B, D)"""
        towards = (self.means.to(x) - x[:, None]) / self.variances.to(x)[:, None]  # (B, K, D)
        return (self.responsibilities(x)[..., None] * towards).sum(1)

    def log_class_prob(self, x: Tensor, label: int) -> Tensor:
        """log p(y | x), the perfect classifier of this world. (B, D) -> (B,)"""
        joint, chosen = self._log_joint(x), self.labels.to(x.device) == label
        return joint[:, chosen].logsumexp(1) - joint.logsumexp(1)

    def tilted_log_prob(self, x: Tensor, label: int, gamma: float) -> Tensor:
        """log p(x) + gamma log p(y | x), but for a constant: what guidance is said to sample. (B, D) -> (B,)"""
        return self.log_prob(x) + gamma * self.log_class_prob(x, label)

    def posterior_mean(self, xt: Tensor, alpha_bar: float) -> Tensor:
        """E[x0 | x_t], the perfect denoiser: sum_k p(k | x_t) (m_k + g_k (x_t - a m_k)), a = sqrt(alpha_bar).

        g_k = a v_k / (alpha_bar v_k + 1 - alpha_bar), the regression of x0 on x_t in component k; the same as Tweedie's
        (x_t + (1 - alpha_bar) score) / a (Luo, 2208.11970, eq. 133), and finite also at alpha_bar = 0. (B, D) -> (B, D)
        """
        a, noised = math.sqrt(alpha_bar), self.noised(alpha_bar)
        gain = a * self.variances / noised.variances  # (K,)
        guess = self.means.to(xt) + gain.to(xt)[:, None] * (xt[:, None] - noised.means.to(xt))  # (B, K, D)
        return (noised.responsibilities(xt)[..., None] * guess).sum(1)

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """The perfect denoiser at the times of a schedule."""
        return lambda xt, t: self.posterior_mean(xt, schedule.alpha_bar(t))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw points. (count, D), in the dtype of the means"""
        k = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        z = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[k] + self.variances[k].sqrt()[:, None] * z

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance. (D,), (D, D)"""
        mean = self.weights @ self.means
        centred = self.means - mean
        inner = (self.weights @ self.variances) * torch.eye(len(mean), dtype=self.means.dtype)
        return mean, inner + (self.weights[:, None] * centred).T @ centred

    def _log_joint(self, x: Tensor) -> Tensor:
        """log w_k + log N(x; m_k, v_k I). (B, D) -> (B, K)"""
        v = self.variances.to(x)
        distance = (x[:, None] - self.means.to(x)).square().sum(-1)  # (B, K)
        return self.weights.to(x).log() - 0.5 * (distance / v + x.shape[1] * (2 * math.pi * v).log())


def gaussian(variance: float, dimensions: int = 1) -> Mixture:
    """N(0, variance I) as a mixture of one."""
    one = torch.ones(1, dtype=torch.float64)
    return Mixture(
        torch.zeros(1, dimensions, dtype=torch.float64), variance * one, one, torch.zeros(1, dtype=torch.int64)
    )


def islands() -> Mixture:
    """The world of the pages: three classes on the plane, two of them neighbours, one in two pieces."""
    means = [[-1.2, 0.6], [-0.4, 0.9], [0.5, 0.3], [1.1, 0.9], [0.0, -1.0]]
    return Mixture(
        torch.tensor(means, dtype=torch.float64),
        torch.tensor([0.06, 0.04, 0.05, 0.03, 0.08], dtype=torch.float64),
        torch.tensor([0.2, 0.15, 0.2, 0.1, 0.35], dtype=torch.float64),
        torch.tensor([0, 0, 1, 1, 2], dtype=torch.int64),
    )
