"""How much noise at which time: the schedules of the papers, one drawn by hand, and what follows from them.

Times are indices: t = 0 is the first noising (the papers' t = 1), t = T - 1 the last. Before the first one there is no
noise: alpha_bar is 1 at t = -1. Everything is float64, because 1 - alpha_bar loses its digits in less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from studio.diffusion.curves import monotone

MAX_T = 4000
MIN_BETA, MAX_BETA = 1e-6, 0.999
"""The guards of the schedules that are given as a curve: every step adds noise, and none destroys everything
(0.999: Improved DDPM, 2102.09672, section 3.2; at 0.9999 the first step back is amplified a hundredfold)."""
MIN_ALPHA_BAR = 1e-12


@dataclass(frozen=True, eq=False)
class Schedule:
    """The variances of one forward process. betas: (T,) float64 in (0, 1]; only the last one may be 1.

    Raises ValueError, which names the step and its value, for anything else.
    """

    name: str
    betas: Tensor

    def __post_init__(self) -> None:
        if self.betas.ndim != 1 or self.betas.dtype != torch.float64:
            raise ValueError(f"{self.name}: betas must be one row of float64; they are {self.betas.dtype}")
        _check_length(len(self.betas))
        inside = (self.betas > 0) & (self.betas < 1)
        inside[-1] |= self.betas[-1] == 1
        if not inside.all():
            t = int((~inside).nonzero()[0])
            raise ValueError(
                f"{self.name}: beta must be in (0, 1), and at the last step may be 1; at t = {t} of "
                f"{len(self.betas)} it is {self.betas[t]:g}"
            )

    @property
    def T(self) -> int:
        """How many steps."""
        return len(self.betas)

    @cached_property
    def alphas(self) -> Tensor:
        """alpha_t = 1 - beta_t, the share of the power that a step keeps. DDPM (2006.11239), section 2. (T,)"""
        return 1 - self.betas

    @cached_property
    def alpha_bars(self) -> Tensor:
        """alpha_bar_t = prod_{s <= t} alpha_s, the share that is left of the picture. DDPM, section 2. (T,)"""
        return self.alphas.cumprod(0)

    @cached_property
    def previous_alpha_bars(self) -> Tensor:
        """alpha_bar_{t-1}, which is 1 before the first step. (T,)"""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bars[:-1]])

    @cached_property
    def snr(self) -> Tensor:
        """SNR(t) = alpha_bar_t / (1 - alpha_bar_t). Variational Diffusion Models (2107.00630), eq. 2. (T,)"""
        return self.alpha_bars / (1 - self.alpha_bars)

    @cached_property
    def sigmas(self) -> Tensor:
        """sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t): noise over signal; infinite at zero terminal SNR. (T,)"""
        return ((1 - self.alpha_bars) / self.alpha_bars).sqrt()

    @cached_property
    def posterior_variances(self) -> Tensor:
        """beta_tilde_t = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t); 0 at t = 0. DDPM, eq. 7. (T,)"""
        return self.betas * (1 - self.previous_alpha_bars) / (1 - self.alpha_bars)

    @property
    def has_zero_terminal_snr(self) -> bool:
        """Whether nothing of the picture is left at the last step."""
        return float(self.alpha_bars[-1]) == 0.0

    def alpha_bar(self, t: int) -> float:
        """alpha_bar at one time from -1 (no noise yet) to T - 1. Raises ValueError for any other."""
        if not -1 <= t < self.T:
            raise ValueError(f"t must be from -1 to {self.T - 1}; it is {t}")
        return 1.0 if t < 0 else float(self.alpha_bars[t])


def linear(T: int, beta_start: float = 1e-4, beta_end: float = 0.02, rescaled: bool = False) -> Schedule:
    """beta_t runs evenly from beta_start to beta_end. DDPM (2006.11239), section 4.

    rescaled: both ends are multiplied by 1000 / T, so that few steps add as much noise as a thousand. With the usual
    ends the last beta is 1 at T = 20 and beyond it below: that is refused with a ValueError.
    """
    _check_length(T)
    scale = 1000 / T if rescaled else 1.0
    return Schedule("linear", torch.linspace(scale * beta_start, scale * beta_end, T, dtype=torch.float64))


def scaled_linear(T: int, beta_start: float = 0.00085, beta_end: float = 0.012) -> Schedule:
    """sqrt(beta_t) runs evenly. From the published code of latent diffusion (2112.10752) and Stable Diffusion."""
    _check_length(T)
    roots = torch.linspace(math.sqrt(beta_start), math.sqrt(beta_end), T, dtype=torch.float64)
    return Schedule("scaled_linear", roots.square())


def cosine(T: int, s: float = 0.008, max_beta: float = MAX_BETA) -> Schedule:
    """alpha_bar(u) = f(u) / f(0), f(u) = cos^2(pi/2 (u + s) / (1 + s)). Improved DDPM (2102.09672), eq. 17."""
    return from_alpha_bar("cosine", T, lambda u: torch.cos(math.pi / 2 * (u + s) / (1 + s)).square(), max_beta)


def sigmoid(T: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = MAX_BETA) -> Schedule:
    """alpha_bar(u) = (S(end) - S(start + u (end - start))) / (S(end) - S(start)), S(x) = 1 / (1 + exp(-x / tau)).

    Jabri et al. (2212.11972); as code in Chen (2301.10972), algorithm 1. Raises ValueError unless start < end and
    tau > 0: with start = end the quotient is 0 / 0.
    """
    if not start < end or not tau > 0:
        raise ValueError(f"sigmoid: start must be below end and tau above 0; they are {start:g}, {end:g}, {tau:g}")
    last = torch.sigmoid(torch.tensor(end / tau, dtype=torch.float64))
    return from_alpha_bar("sigmoid", T, lambda u: last - torch.sigmoid((start + u * (end - start)) / tau), max_beta)


def drawn(T: int, points: Sequence[tuple[float, float]], max_beta: float = MAX_BETA) -> Schedule:
    """alpha_bar through points that a person draws, (u, alpha_bar) with u in (0, 1]; it starts at (0, 1).

    Between them a cubic that never overshoots (Fritsch and Carlson, 1980). Raises ValueError unless u rises to 1 and
    alpha_bar falls or stays within [0, 1]: noise that was added does not go away.
    """
    path = [(0.0, 1.0), *((float(u), float(a)) for u, a in points)]
    if len(path) < 2 or path[-1][0] != 1:
        raise ValueError("drawn: the points must end at u = 1")
    for (u0, a0), (u1, a1) in pairwise(path):
        if not (u0 < u1 and 0 <= a1 <= a0):
            raise ValueError(
                f"drawn: u must rise and alpha_bar fall within [0, 1]; after ({u0:g}, {a0:g}) comes ({u1:g}, {a1:g})"
            )
    times, bars = (torch.tensor(column, dtype=torch.float64) for column in zip(*path, strict=True))
    return from_alpha_bar("drawn", T, lambda u: monotone(times, bars, u), max_beta)


def from_alpha_bar(name: str, T: int, curve: Callable[[Tensor], Tensor], max_beta: float = MAX_BETA) -> Schedule:
    """beta_t = 1 - alpha_bar((t + 1) / T) / alpha_bar(t / T), within [MIN_BETA, max_beta]. 2102.09672, section 3.2.

    curve: maps (T + 1,) float64 times in [0, 1] to something that falls in proportion to alpha_bar.
    """
    _check_length(T)
    values = curve(torch.linspace(0, 1, T + 1, dtype=torch.float64))
    values = (values / values[0]).clamp(min=MIN_ALPHA_BAR)
    return Schedule(name, (1 - values[1:] / values[:-1]).clamp(MIN_BETA, max_beta))


def zero_terminal_snr(schedule: Schedule) -> Schedule:
    """The same schedule, shifted and scaled so that nothing of the picture is left at the end.

    sqrt(alpha_bar'_t) = (sqrt(alpha_bar_t) - sqrt(alpha_bar_T)) sqrt(alpha_bar_1) / (sqrt(alpha_bar_1)
    - sqrt(alpha_bar_T)); the first step stays, the last beta is 1.     Lin et al. (2305.08891), algorithm 1
    Raises ValueError for a single step, which cannot be both.
    """
    if schedule.T < 2:
        raise ValueError("zero terminal SNR needs at least 2 steps; there is 1")
    roots = schedule.alpha_bars.sqrt()
    first, last = roots[0], roots[-1]
    alpha_bars = ((roots - last) * first / (first - last)).square()
    ratios = torch.cat([alpha_bars[:1], alpha_bars[1:] / alpha_bars[:-1]])
    betas = (1 - ratios).clamp(MIN_BETA, MAX_BETA)
    betas[-1] = 1
    return Schedule(f"{schedule.name}, zero terminal SNR", betas)


def _check_length(T: object) -> None:
    """Refuse what is not a whole number of steps within bounds."""
    if isinstance(T, bool) or not isinstance(T, int) or not 1 <= T <= MAX_T:
        raise ValueError(f"T must be a whole number from 1 to {MAX_T}; it is {T}")


SCHEDULES: Mapping[str, Callable[[int], Schedule]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
}
"""By name, those that need nothing but T."""
