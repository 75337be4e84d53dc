"""What the forward section shows, as HTML: the picture at a time, its numbers and figures, and strips."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from studio.events import Done, Event
from studio.tabs.maths.page import Asked, note, numbers, shown, strip
from studio.text import t as text
from studio.ui.figure import Axis, Bars, Line, even_ticks, figure

if TYPE_CHECKING:
    from studio.diffusion.schedules import Schedule
    from studio.engine.latent_noising import LatentStrip

STRIP_FRAMES, STRIP_SIDE, WALKED_SIDE = 8, 72, 64
SHARES = ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))


def live(wish: Asked, language: str) -> str:
    """The noised picture, its histogram beside N(0, 1), where it stands between signal and noise, and its numbers."""
    from studio.engine.noising import HIGHEST, LOWEST, noised

    found = noised(wish.x0(), wish.schedule, wish.t, wish.seed)
    bell = [(x / 10, math.exp(-(x**2) / 200) / math.sqrt(2 * math.pi)) for x in range(-40, 41)]
    top = max(0.6, math.ceil(10 * min(2.0, max(found.counts))) / 10)
    histogram = figure(
        Axis(text("maths.value", language), LOWEST, HIGHEST, even_ticks(LOWEST, HIGHEST)),
        Axis(text("maths.density", language), 0, top, even_ticks(0, top, 2)),
        text("maths.histogram", language),
        [
            Bars([min(top, count) for count in found.counts], LOWEST, HIGHEST, 0, "x_t"),
            Line(bell, 1, "N(0, 1)", dashed=True),
        ],
        height=110,
    )
    snr = "∞" if math.isinf(found.snr) else f"{found.snr:.3g}"
    told = numbers(
        [
            (text("maths.share", language), f"{found.alpha_bar:.2%}"),
            ("SNR", snr),
            (text("maths.mean", language), f"{found.mean:+.3f} ({found.predicted_mean:+.3f})"),
            (text("maths.variance", language), f"{found.variance:.3f} ({found.predicted_variance:.3f})"),
            ("β", f"{found.beta:.2g}"),
        ]
    )
    picture = shown(found.picture, text("maths.at", language, t=wish.t))
    return (
        f'<div class="maths-live"><div class="maths-picture">{picture}</div>'
        f'<div class="maths-figures">{histogram}{shares(wish, language)}</div></div>{told}'
        f'<p class="studio-note">{text("maths.predicted", language)}</p>'
    )


def shares(wish: Asked, language: str) -> str:
    """Both factors of the jump over time, with a line where the slider stands."""
    from studio.engine.noising import curves

    (signal,) = curves([wish.schedule], lambda s: s.alpha_bars.sqrt())
    (noise,) = curves([wish.schedule], lambda s: (1 - s.alpha_bars).sqrt())
    return figure(
        Axis("t / T", 0, 1, SHARES),
        Axis(text("maths.factor", language), 0, 1, SHARES),
        text("maths.factors", language),
        [Line(signal, 0, "√ᾱ"), Line(noise, 1, "√(1 − ᾱ)")],
        now=(wish.t + 1) / wish.schedule.T,
        height=110,
    )


def overlaid(wish: Asked, language: str) -> str:
    """All schedules over each other: what is left of the picture, how much each step adds, and the ratio of both."""
    from studio.engine.noising import curves

    every = schedules(wish)
    names = [text(f"maths.schedule.{schedule.name.split(',')[0]}", language) for schedule in every]
    x = Axis("t / T", 0, 1, SHARES)
    low = min(-2.0, math.floor(math.log10(float(wish.schedule.betas.min()))))
    betas = [(value, f"{10**value:.0e}") for value in (low, low / 2, 0.0)]
    plots = (
        ("ᾱ", Axis("ᾱ", 0, 1, SHARES), lambda s: s.alpha_bars),
        ("β", Axis(text("maths.log", language, of="β"), low, 0, betas), lambda s: s.betas.log10().clamp(min=low)),
        (
            "SNR",
            Axis(text("maths.log", language, of="SNR"), -6, 6, [(v, f"1e{v}") for v in (-6, 0, 6)]),
            lambda s: s.snr.log10().clamp(-6, 6),
        ),
    )
    drawn = []
    for name, y, of in plots:
        lines = [
            Line(points, index, names[index], strong=schedule is wish.schedule)
            for index, (schedule, points) in enumerate(zip(every, curves(every, of), strict=True))
        ]
        drawn.append(figure(x, y, text("maths.of_schedules", language, of=name), lines))
    return f'<div class="maths-row">{"".join(drawn)}</div>'


def schedules(wish: Asked) -> list[Schedule]:
    """Those that need nothing but T, at the chosen length, the chosen one in its own place or at the end."""
    from studio.diffusion.schedules import SCHEDULES as KNOWN

    chosen = wish.schedule.name.split(",")[0]
    every = [wish.schedule if name == chosen else make(wish.schedule.T) for name, make in KNOWN.items()]
    return every if chosen in KNOWN else [*every, wish.schedule]


def filmstrips(wish: Asked, language: str) -> str:
    """The same picture and noise on its way by each schedule."""
    from studio.engine.noising import filmstrip, strip_times

    x0 = wish.x0(STRIP_SIDE)
    rows = [
        (text(f"maths.schedule.{one.name.split(',')[0]}", language), filmstrip(x0, one, STRIP_FRAMES, wish.seed))
        for one in schedules(wish)
    ]
    return strip(rows, [f"t = {t}" if t >= 0 else "x₀" for t in strip_times(wish.schedule.T, STRIP_FRAMES)])


def compared(wish: Asked, language: str) -> str:
    """t steps beside the jump, and how far they are apart."""
    from studio.engine.noising import walked

    found = walked(wish.x0(WALKED_SIDE), wish.schedule, wish.t, wish.seed)
    told = text("maths.walked", language, steps=found.steps, difference=f"{found.difference:.1e}")
    row = [found.stepped, found.jumped, found.fresh]
    names = [text(f"maths.walked.{name}", language) for name in ("stepped", "jumped", "fresh")]
    return f"{strip([('', row)], names, pixelated=True)}{note(told)}"


def shown_latents(event: Event, language: str) -> str:
    """The strip that a work in the latents ends with; nothing for its other events."""
    return latents(event.result, language) if isinstance(event, Done) else ""


def latents(found: LatentStrip, language: str) -> str:
    """The decoded latents, and how many numbers they are."""
    captions = [f"t = {t}" if t >= 0 else "z₀" for t in found.times]
    shares = ", ".join(f"{share:.2f}" for share in found.alpha_bars)
    told = text("maths.latents", language, latents=found.size[0], pixels=found.size[1], shares=shares)
    return f"{strip([('', found.pictures)], captions)}{note(told)}"
