"""The figures of a comparison: what is gained and what is lost, and where in time and in the network that arises."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from studio.engine.comparison import Measured
from studio.engine.comparison_inside import Inside, LayerErrors
from studio.text import t
from studio.ui.curve import Axis
from studio.ui.figure import Area, Bars, Dots, Line, Part, even_ticks, figure
from studio.ui.quant_names import bits_of, decibels, method_name
from studio.ui.widgets import plain

COLOURS = 6
MOST_SHOWN_DECIBELS = 60.0
HEAT_HEIGHT, PLOT_HEIGHT = 190, 170
STEP_LAYERS = 3
BINS = 60
LOW, MIDDLE, HIGH = (38, 70, 130), (240, 240, 236), (176, 62, 28)


def named(row: Measured, language: str) -> str:
    return f"{method_name(row.method, language)} {bits_of(row)}"


def pareto(rows: Sequence[Measured], language: str) -> str:
    """Seconds of a picture against its PSNR, of the real rows: what is up and to the left is better."""
    real = [(index, row) for index, row in enumerate(rows) if row.spent is not None]
    if len(real) < 2:
        return f'<p class="studio-note">{plain(t("quant.pareto_needs", language))}</p>'
    seconds = [row.spent.median_seconds for _, row in real if row.spent is not None]
    top = rounded_up(1.05 * max(seconds))
    x = Axis(t("quant.axis.seconds", language), 0.0, top, even_ticks(0.0, top))
    y = Axis(t("quant.axis.psnr", language), 0.0, MOST_SHOWN_DECIBELS, even_ticks(0.0, MOST_SHOWN_DECIBELS, 3))
    places = [(value, min(row.psnr, MOST_SHOWN_DECIBELS)) for (_, row), value in zip(real, seconds, strict=True)]
    dots = "".join(
        f'<circle class="fig-{index % COLOURS} quant-dot" cx="{x.share(a):.2f}%" cy="{100 - y.share(b):.2f}%" r="6">'
        f"<title>{plain(f'{named(row, language)}: {a:.2f} s, {decibels(row.psnr)} dB')}</title></circle>"
        for (index, row), (a, b) in zip(real, places, strict=True)
    )
    keys = [Dots((), index % COLOURS, named(row, language)) for index, row in real]
    front = Line(sorted(_front(places)), 5, dashed=True)
    drawn = figure(x, y, t("quant.pareto", language), [front, *keys], height=PLOT_HEIGHT)
    return drawn.replace("</svg></svg>", f"</svg>{dots}</svg>", 1)


def rounded_up(value: float) -> float:
    """The next number of one digit, or of half a step between two: an axis that ends there has plain ticks."""
    unit = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return unit * math.ceil(2 * value / unit) / 2


def _front(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other one beats in both."""
    return [one for one in places if not any(a <= one[0] and b >= one[1] and (a, b) != one for a, b in places)]


def by_time(rows: Sequence[Measured], language: str) -> str:
    """The error of the answer against t, each row a line; both from noise to picture. Logarithmic."""
    lines = [(index, row) for index, row in enumerate(rows) if row.error > 0]
    if not lines:
        return ""
    logs = [math.log10(max(error, 1e-12)) for _, row in lines for _, error in row.by_time]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    ticks = [(float(power), f"1e{power}") for power in range(low, high + 1, max(1, (high - low) // 4))]
    parts: list[Part] = [
        Line([(-t_, math.log10(max(error, 1e-12))) for t_, error in row.by_time], index % COLOURS, named(row, language))
        for index, row in lines
    ]
    y = Axis(t("quant.axis.error", language), low, max(high, low + 1), ticks)
    return figure(_time(language), y, t("quant.by_time", language), parts, height=PLOT_HEIGHT)


def ranges(inside: Inside, language: str) -> str:
    """How far each layer's range is from its median over t: a heat map, and what it says in numbers."""
    values = []
    for line in inside.ranges:
        middle = sorted(line)[len(line) // 2]
        values.append([math.log2(max(one, 1e-9) / max(middle, 1e-9)) for one in line])
    strong = sum(abs(r) > 0.5 for r in inside.correlation) / max(1, len(inside.correlation))
    median = sorted(inside.ratio)[len(inside.ratio) // 2]
    told = t(
        "quant.ranges_told", language, share=f"{strong:.0%}", ratio=f"{median:.2f}", most=f"{max(inside.ratio):.2f}"
    )
    heat = _heat(values, inside.times, 1.0, t("quant.ranges", language), language, signed=True)
    return f"{heat}<p class='studio-note'>{plain(told)}</p>"


def violins(inside: Inside, language: str) -> str:
    """How what goes into the layer whose range moves most is spread, at some times: as wide as it is frequent. Roots of
    shares, so that rare large values, which a range is made of, can be seen."""
    spread = inside.spread
    half = 0.45 * (spread.times[0] - spread.times[-1]) / max(1, len(spread.times) - 1)
    parts = []
    for time, shares in zip(spread.times, spread.shares, strict=True):
        most = max(shares) or 1.0
        side = [((one / most) ** 0.5 * half, value) for one, value in zip(shares, spread.values, strict=True)]
        parts.append(Area([(w - time, v) for w, v in side] + [(-w - time, v) for w, v in reversed(side)], 0))
    low, high = spread.values[0], spread.values[-1]
    y = Axis(t("quant.axis.value", language), low, max(high, low + 1e-9), even_ticks(low, high))
    ends = -spread.times[0] - half, -spread.times[-1] + half
    ticks = [(float(-one), str(one)) for one in spread.times[::2]]
    x = Axis(t("quant.axis.t", language), ends[0], max(ends[1], ends[0] + 1.0), ticks)
    drawn = figure(x, y, t("quant.violins", language), parts, height=PLOT_HEIGHT)
    return titled("quant.violins", drawn, t("quant.violins_told", language, layer=spread.layer), language)


def layer_errors(found: LayerErrors, language: str) -> str:
    """Where in time and in which layer the error arises."""
    top = max(max(line) for line in found.errors) or 1.0
    title = t("quant.layer_errors", language)
    worst = max(range(len(found.layers)), key=lambda one: sum(found.errors[one]))
    told = t("quant.worst_layer", language, layer=found.layers[worst], error=f"{max(found.errors[worst]):.1%}")
    return f"{_heat(found.errors, found.times, top, title, language)}<p class='studio-note'>{plain(told)}</p>"


def _heat(
    values: Sequence[Sequence[float]], times: Sequence[int], top: float, title: str, language: str, signed: bool = False
) -> str:
    """Layers from the first at the top to the last, t from noise at the left. Colours from -top or 0 to top."""
    picture = Image.new("RGB", (len(times), len(values)))
    picture.putdata([_ink(value / top, signed) for line in values for value in line])
    layers = Axis(t("quant.axis.layer", language), 0, len(values), [(0, str(len(values))), (len(values), "1")])
    x = Axis(t("quant.axis.t", language), 0, 1, [(0.0, str(times[0])), (1.0, str(times[-1]))])
    drawn = figure(
        x, layers, title, (), ground=picture.resize((4 * len(times), 4 * len(values)), 0), height=HEAT_HEIGHT
    )
    ends = (f"{2**-top:.2g}×", f"{2**top:.2g}×") if signed else ("0", f"{top:.1%}")
    kind = "signed" if signed else "plain"
    scale = f'<p class="quant-scale"><span>{ends[0]}</span><i class="quant-{kind}"></i><span>{ends[1]}</span></p>'
    return f"<h4>{plain(title)}</h4>{drawn}{scale}"


def _ink(share: float, signed: bool) -> tuple[int, int, int]:
    """Blue below, white, red above."""
    share = max(-1.0, min(1.0, share))
    end = HIGH if share >= 0 else LOW
    start = MIDDLE
    return tuple(round(a + (b - a) * abs(share)) for a, b in zip(start, end, strict=True))  # type: ignore[return-value]


def steps(row: Measured, inside: Inside, language: str) -> str:
    """The step that a quantizer takes over t, beside the one that the layer's range would ask for, of the layers whose
    ranges move most."""
    found = row.layers
    if found is None or not found.steps:
        return ""
    ratio = dict(zip(inside.layers, inside.ratio, strict=True))
    names = sorted(found.steps, key=lambda name: -ratio.get(name, 0.0))[:STEP_LAYERS]
    parts: list[Part] = []
    for colour, name in enumerate(names):
        asked = dict(zip(inside.times, inside.ranges[inside.layers.index(name)], strict=True))
        levels = max(1, found.levels - 1)
        parts.append(Line([(-time, asked[time] / levels) for time in inside.times], colour, dashed=True))
        parts.append(
            Line([(-time, step) for time, step in zip(found.times, found.steps[name], strict=True)], colour, name, True)
        )
    top = 1.1 * max(place[1] for part in parts if isinstance(part, Line) for place in part.points)
    y = Axis(t("quant.axis.step", language), 0.0, top, even_ticks(0.0, top, 3))
    drawn = figure(_time(language), y, t("quant.steps_over_t", language), parts, height=PLOT_HEIGHT)
    return titled("quant.steps_over_t", drawn, t("quant.steps_told", language), language)


def number_line(row: Measured, inside: Inside, language: str) -> str:
    """What goes into the layer whose range moves most, and the levels that a quantizer rounds it to."""
    found = row.layers
    if found is None or not found.steps:
        return ""
    ratio = dict(zip(inside.layers, inside.ratio, strict=True))
    name = max(found.steps, key=lambda one: ratio.get(one, 0.0))
    values = inside.samples[name]
    low, high = min(values), max(values)
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int(BINS * (value - low) / max(high - low, 1e-9)))] += 1
    step, zero = found.steps[name][len(found.steps[name]) // 2], found.zeros[name]
    levels = [step * (level - zero) for level in range(found.levels)]
    top = 1.1 * max(counts)
    x = Axis(t("quant.axis.value", language), low, max(high, low + 1e-9), even_ticks(low, high))
    y = Axis(t("quant.axis.count", language), 0.0, top, even_ticks(0.0, top, 2))
    inside_levels = [level for level in levels if low <= level <= high]
    ticks = [Line([(level, 0.0), (level, 0.16 * top)], 1) for level in inside_levels]
    drawn = figure(x, y, t("quant.number_line", language), [Bars(counts, low, high, 0), *ticks], height=PLOT_HEIGHT)
    told = t("quant.number_line_told", language, layer=name, levels=found.levels, step=f"{step:.3g}")
    return titled("quant.number_line", drawn, told, language)


def titled(key: str, drawn: str, told: str, language: str) -> str:
    """A figure between its title and what it says in words."""
    return f"<h4>{plain(t(key, language))}</h4>{drawn}<p class='studio-note'>{plain(told)}</p>"


def _time(language: str) -> Axis:
    """From noise at the left to the picture at the right."""
    return Axis(t("quant.axis.t", language), -999, 0, [(float(-one), str(one)) for one in (999, 750, 500, 250, 0)])
