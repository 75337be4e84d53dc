"""Pictures on their way to noise, as the forward page shows them: the maths room's formulas on a person's picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from studio.diffusion.process import q_sample, q_step, to_pixels, to_signed
from studio.diffusion.schedules import MAX_T, SCHEDULES, Schedule, drawn, zero_terminal_snr
from studio.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

DRAWN = "drawn"
NAMES = (*SCHEDULES, DRAWN)
DRAWN_TIMES = (0.25, 0.5, 0.75, 1.0)
"""Where a person sets alpha_bar."""
BINS, LOWEST, HIGHEST = 48, -4.0, 4.0
WALKED_SIDE = 64


@dataclass(frozen=True)
class Noised:
    """A picture at one time. mean, variance: of its values; predicted_*: what alpha_bar says they are; counts: of the
    values in BINS equal parts of [LOWEST, HIGHEST], as a density."""

    picture: Picture
    mean: float
    variance: float
    predicted_mean: float
    predicted_variance: float
    alpha_bar: float
    snr: float
    beta: float
    counts: tuple[float, ...]


@dataclass(frozen=True)
class Walked:
    """Step by step and in one jump. difference: the largest one when the jump has the noise that the steps added up to,
    which is no more than rounding; fresh: the jump with noise of its own; steps: how many were walked."""

    stepped: Picture
    jumped: Picture
    fresh: Picture
    difference: float
    steps: int


def schedule_of(name: object, T: object, points: Sequence[object] = (), zero_terminal: object = False) -> Schedule:
    """A schedule from raw values. points: alpha_bar at DRAWN_TIMES, for the one that a person draws.

    Raises InvalidInput that names the field and its limits.
    """
    if name not in NAMES:
        raise InvalidInput("not_a_choice", field="schedule", value=str(name)[:40], choices=", ".join(NAMES))
    length = whole("T", T, 1, MAX_T)
    if name == DRAWN:
        schedule = drawn(length, list(zip(DRAWN_TIMES, _falling(points), strict=True)))
    else:
        schedule = SCHEDULES[str(name)](length)
    return zero_terminal_snr(schedule) if zero_terminal is True and length > 1 else schedule


def whole(field: str, value: object, minimum: int, maximum: int) -> int:
    """A whole number within bounds, also as a float without a fraction. Raises InvalidInput."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or not minimum <= number <= maximum:
        raise InvalidInput("bad_whole_number", field=field, minimum=minimum, maximum=maximum, value=str(value)[:40])
    return number


def _falling(points: Sequence[object]) -> list[float]:
    """What a person drew, if it falls from 1 and stays in [0, 1]."""
    values = [float(p) if isinstance(p, (int, float)) and not isinstance(p, bool) else math.nan for p in points]
    if len(values) != len(DRAWN_TIMES) or not all(b <= a for a, b in zip([1.0, *values], [*values, 0.0], strict=True)):
        raise InvalidInput("drawn_must_fall", field="alpha_bar", value=", ".join(str(p)[:10] for p in points))
    return values


def to_tensor(picture: Picture) -> Tensor:
    """RGB to (1, 3, H, W) float64 in [-1, 1]."""
    return to_signed(torch.from_numpy(np.array(picture.convert("RGB")))).permute(2, 0, 1)[None].double()


def to_picture(x: Tensor) -> Picture:
    """(1, 3, H, W) in [-1, 1] to RGB; what lies outside is cut off."""
    return Image.fromarray(to_pixels(x[0]).permute(1, 2, 0).numpy())


def noise_of(x0: Tensor, seed: int) -> Tensor:
    """The noise that a seed stands for, like x0; float32 numbers, because they are drawn four times as fast."""
    return torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0.dtype)


def noised(x0: Tensor, schedule: Schedule, t: int, seed: int) -> Noised:
    """x0: (1, 3, H, W); t from -1, the picture itself, to T - 1."""
    eps, alpha_bar = noise_of(x0, seed), schedule.alpha_bar(t)
    xt = x0 if t < 0 else q_sample(x0, t, eps, schedule)
    counts, _ = np.histogram(xt.numpy(), BINS, (LOWEST, HIGHEST))
    density = counts * (BINS / (HIGHEST - LOWEST) / xt.numel())
    return Noised(
        to_picture(xt),
        float(xt.mean()),
        float(xt.var(unbiased=False)),
        math.sqrt(alpha_bar) * float(x0.mean()),
        alpha_bar * float(x0.var(unbiased=False)) + 1 - alpha_bar,
        alpha_bar,
        math.inf if alpha_bar == 1 else alpha_bar / (1 - alpha_bar),
        0.0 if t < 0 else float(schedule.betas[t]),
        tuple(density.tolist()),
    )


def strip_times(T: int, count: int) -> list[int]:
    """Times from the picture itself, -1, to the last, evenly."""
    return [round(-1 + T * i / max(1, count - 1)) for i in range(count)]


def filmstrip(x0: Tensor, schedule: Schedule, count: int, seed: int) -> list[Picture]:
    """The picture at evenly spread times, always with the same noise."""
    eps = noise_of(x0, seed)
    times = strip_times(schedule.T, count)
    return [to_picture(x0 if t < 0 else q_sample(x0, t, eps, schedule)) for t in times]


def walked(x0: Tensor, schedule: Schedule, t: int, seed: int) -> Walked:
    """Noise a picture t + 1 times, and in one jump with the noise that this comes to.

    x_t = sqrt(alpha_bar_t) x_0 + sum_s sqrt(alpha_bar_t / alpha_bar_s beta_s) eps_s, from eq. 2 of 2006.11239; the sum,
    over sqrt(1 - alpha_bar_t), is one draw from N(0, I).
    """
    generator, x, collected = torch.Generator().manual_seed(seed), x0, torch.zeros_like(x0)
    for s in range(t + 1):
        eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        x, collected = q_step(x, s, eps, schedule), q_step(collected, s, eps, schedule)
    jumped = q_sample(x0, t, collected / math.sqrt(1 - schedule.alpha_bar(t)), schedule)
    other = q_sample(x0, t, noise_of(x0, seed + 1), schedule)
    return Walked(to_picture(x), to_picture(jumped), to_picture(other), float((x - jumped).abs().max()), t + 1)


def curves(schedules: Sequence[Schedule], of: Callable[[Schedule], Tensor], count: int = 100) -> Iterator[list[Any]]:
    """For each schedule (u, value) at evenly spread times, u the share of T that has passed."""
    for schedule in schedules:
        times = sorted({round((schedule.T - 1) * i / count) for i in range(count + 1)})
        values = of(schedule)[times].tolist()
        yield [((t + 1) / schedule.T, value) for t, value in zip(times, values, strict=True)]
