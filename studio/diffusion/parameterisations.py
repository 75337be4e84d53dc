"""Four ways to say the same prediction: the noise, the clean picture, the velocity, the score.

With a = sqrt(alpha_bar_t), s = sqrt(1 - alpha_bar_t) and x_t = a x0 + s eps, each of them gives the others:
    eps     the noise                                                                DDPM (2006.11239), section 3.2
    x0      the clean picture, x0 = (x_t - s eps) / a                                DDPM (2006.11239), eq. 15
    v       the velocity, v = a eps - s x0                                           Salimans, Ho (2202.00512), app. D
    score   grad log q(x_t | x0) = -eps / s                                          Luo (2208.11970), eq. 151
Where a = 0, at the last step of a schedule with zero terminal SNR, x_t is the noise itself: it says nothing of x0, and
so eps and score do not say x0 or v there (Lin et al., 2305.08891, section 3.2). x0 and v say all of them at every t.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

from studio.diffusion.process import Time, noise, signal
from studio.diffusion.schedules import Schedule

Kind = Literal["eps", "x0", "v", "score"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Model = Callable[[Tensor, int], Tensor]
"""(xt, t) -> a prediction of one kind, like xt."""
Denoiser = Callable[[Tensor, int], Tensor]
"""(xt, t) -> its guess of the clean picture, like xt: what every sampler here asks."""


def convert(value: Tensor, source: Kind, target: Kind, xt: Tensor, t: Time, schedule: Schedule) -> Tensor:
    """Say a prediction in another way. value: of kind `source`, at (xt, t); returns it as kind `target`.

    Raises ValueError where x_t holds no signal and the answer would need it.
    """
    if source not in KINDS or target not in KINDS:
        raise ValueError(f"a prediction is one of {', '.join(KINDS)}; this is {source} to {target}")
    if source == target:
        return value
    if target == "x0":
        return _x0(value, source, xt, t, schedule)
    eps = _eps(value, source, xt, t, schedule)
    if target == "eps":
        return eps
    if target == "score":
        return -eps / noise(t, xt, schedule)
    x0 = _x0(value, source, xt, t, schedule)
    return signal(t, xt, schedule) * eps - noise(t, xt, schedule) * x0


def _eps(value: Tensor, source: Kind, xt: Tensor, t: Time, schedule: Schedule) -> Tensor:
    """The noise, from anything; 1 - alpha_bar is never 0."""
    a, s = signal(t, xt, schedule), noise(t, xt, schedule)
    match source:
        case "eps":
            return value
        case "score":
            return -s * value
        case "x0":
            return (xt - a * value) / s
        case "v":
            return s * xt + a * value


def _x0(value: Tensor, source: Kind, xt: Tensor, t: Time, schedule: Schedule) -> Tensor:
    """The clean picture; from eps or score only where x_t holds some of it."""
    a, s = signal(t, xt, schedule), noise(t, xt, schedule)
    match source:
        case "x0":
            return value
        case "v":
            return a * xt - s * value
        case _:
            if not bool((a > 0).all()):
                raise ValueError(
                    f"{source} says nothing of x0 at zero terminal SNR (t = {t}): x_t is noise alone; predict v or x0"
                )
            return (xt - s * _eps(value, source, xt, t, schedule)) / a


def is_defined(source: Kind, target: Kind, t: int, schedule: Schedule) -> bool:
    """Whether `convert` has an answer at this t."""
    needs_signal = source in ("eps", "score") and target in ("x0", "v")
    return not needs_signal or schedule.alpha_bar(t) > 0


def denoiser(model: Model, kind: Kind, schedule: Schedule) -> Denoiser:
    """What the samplers ask, from a model that predicts any of the four."""
    return lambda xt, t: convert(model(xt, t), kind, "x0", xt, t, schedule)


def clipped(denoise: Denoiser, limit: float = 1.0) -> Denoiser:
    """The same, its guesses cut to [-limit, limit], as DDPM's published code does before each step back."""
    return lambda xt, t: denoise(xt, t).clamp(-limit, limit)
