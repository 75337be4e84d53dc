"""What a check is: a number that a formula says is small, computed anew, and how small it has to be.

Tests, the lights of the pages and `evaluate diffusion` all run the same ones, each on a `Subject`: what is on the page,
or the seeded default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from studio.diffusion.process import q_sample
from studio.diffusion.schedules import Schedule, linear
from studio.errors import InvalidInput

FEW = 4096
"""So many values of a picture are enough for a statistic, and are quick at any size."""


@dataclass(frozen=True)
class Light:
    """The answer of a check. Green (`holds`) when the value is a number and within the tolerance."""

    value: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return math.isfinite(self.value) and self.value <= self.tolerance


@dataclass(frozen=True, eq=False)
class Subject:
    """What checks are run on. All pictures (B, ...), float64, of one shape; see `subject` for the defaults.

    x0: clean pictures; eps: the noise that is added; guess, guess_plain: what a network says that noise is, told the
    condition and not told it; schedule, t, gamma: as set on the page; seed: of whatever a check draws by itself.
    """

    x0: Tensor
    eps: Tensor
    guess: Tensor
    guess_plain: Tensor
    schedule: Schedule
    t: int
    gamma: float
    seed: int

    @property
    def xt(self) -> Tensor:
        """The pictures at noise level t."""
        return q_sample(self.x0, self.t, self.eps, self.schedule)

    def generator(self, offset: int = 0) -> torch.Generator:
        """A fresh source of chance; equal offsets draw equal numbers."""
        return torch.Generator().manual_seed(self.seed + offset)


def subject(
    x0: Tensor | None = None,
    schedule: Schedule | None = None,
    t: int | None = None,
    eps: Tensor | None = None,
    guess: Tensor | None = None,
    guess_plain: Tensor | None = None,
    gamma: float = 3.0,
    seed: int = 0,
) -> Subject:
    """What is on the page, and for the rest the default: two small pictures, DDPM's schedule, the middle time, noise
    from the seed, and guesses that are near the noise.

    Raises InvalidInput for pictures that are empty, not finite or not of one shape, and for a t outside the schedule.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64) * 2 - 1
    schedule = schedule or linear(1000)
    t = (schedule.T - 1) // 2 if t is None else t
    if isinstance(t, bool) or not isinstance(t, int) or not 0 <= t < schedule.T:
        raise InvalidInput("bad_whole_number", field="t", minimum=0, maximum=schedule.T - 1, value=str(t)[:40])
    x0 = _picture("x0", drawn if x0 is None else x0, None)
    eps = _picture("eps", _normal(x0, generator) if eps is None else eps, x0)
    near, far = (eps + share * _normal(x0, generator) for share in (0.2, 0.4))
    guess = _picture("guess", near if guess is None else guess, x0)
    guess_plain = _picture("guess_plain", far if guess_plain is None else guess_plain, x0)
    return Subject(x0, eps, guess, guess_plain, schedule, t, float(gamma), seed)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64)


def _picture(name: str, x: Tensor, like: Tensor | None) -> Tensor:
    """A picture as float64 on the CPU, or InvalidInput by its name."""
    with torch.inference_mode(False):  # checks may want gradients
        x = x.detach().to("cpu", torch.float64, copy=True)
    if x.ndim < 2 or x.numel() == 0 or (like is not None and x.shape != like.shape):
        wanted = "(B, ...)" if like is None else str(tuple(like.shape))
        raise InvalidInput("wrong_shape", field=name, wanted=wanted, value=str(tuple(x.shape)))
    if not bool(x.isfinite().all()):
        raise InvalidInput("not_finite", field=name)
    return x


@dataclass(frozen=True)
class Check:
    """One formula that can be held against its implementation.

    id: group and name, and the key of its title in assets/i18n under `check.`; formula: LaTeX; source: paper and
    equation, or what it is compared with; measure: how far it is off, or of standard errors for what is left to chance;
    uses: the fields of the subject that it looks at, so that a page knows when to run it again; least_T: the shortest
    schedule that it can be asked of.
    """

    id: str
    formula: str
    source: str
    measure: Callable[[Subject], float]
    tolerance: float
    uses: tuple[str, ...] = field(default=())
    least_T: int = 1

    @property
    def group(self) -> str:
        return self.id.partition(".")[0]

    def applies(self, to: Subject) -> bool:
        """Whether the schedule is long enough for the question."""
        return self.least_T <= to.schedule.T

    def run(self, on: Subject | None = None) -> Light:
        """Measure it now, on what is given or on the default. Raises InvalidInput where it does not apply."""
        on = subject() if on is None else on
        if not self.applies(on):
            raise InvalidInput("schedule_too_short", check=self.id, minimum=self.least_T, value=on.schedule.T)
        with torch.inference_mode(False), torch.no_grad():
            return Light(float(self.measure(on)), self.tolerance)


def few(pictures: Tensor, count: int = FEW) -> Tensor:
    """The first values of pictures, again and again until there are so many. (1, count)"""
    values = pictures.reshape(1, -1)[:, :count]
    return values.repeat(1, -(-count // values.shape[1]))[:, :count]


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, against the size of the numbers where they are above 1. Infinite for NaN."""
    d = ((a - b).abs() / b.abs().clamp(min=1)).max()
    return math.inf if bool(d.isnan()) else float(d)


def differs(a: Tensor, b: Tensor) -> float:
    """How many numbers are not the very same, bit for bit (but that 0 is -0)."""
    return float((a != b).sum()) if a.shape == b.shape else math.inf


def standard_errors(sample: Tensor, mean: float, variance: float | None = None) -> float:
    """How many standard errors a normal sample's mean, and its variance if asked, is off: the larger one."""
    n = sample.numel()
    spread = float(sample.var(unbiased=False)) if variance is None else variance
    off = abs(float(sample.mean()) - mean) / math.sqrt(spread / n)
    if variance is None:
        return off
    return max(off, abs(float((sample - mean).square().mean()) / variance - 1) / math.sqrt(2 / n))
