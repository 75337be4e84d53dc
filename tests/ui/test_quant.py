"""A comparison as HTML, CSV and JSON: what is told, and what is not told of a simulated row."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from io import StringIO

import pytest
from PIL import Image

from studio.engine.blind import Pair
from studio.engine.comparison import Measured, Spent
from studio.engine.comparison_inside import Inside, LayerErrors, Spread
from studio.errors import ModelUnavailable
from studio.quant.methods import METHODS
from studio.text import LANGUAGES
from studio.ui import quant_plots as plots
from studio.ui.quant_names import NONE, choices, unavailable
from studio.ui.quant_pictures import card_of, difference, enlarged
from studio.ui.quant_table import COLUMNS, as_csv, as_json, table
from studio.ui.quant_view import blind, view

BLACK, GREY = Image.new("RGB", (32, 32)), Image.new("RGB", (32, 32), (10, 20, 200))
TIMES = (999, 500, 20)
LAYERS = LayerErrors(
    ("first", "second"), TIMES, ((0.1, 0.2, 0.3), (0.0, 0.1, 0.5)), {"first": (0.1, 0.2, 0.4)}, {"first": 2.0}, 16
)
INSIDE = Inside(
    ("first", "second"),
    TIMES,
    ((1.0, 2.0, 4.0), (3.0, 3.0, 3.0)),
    (0.9, 0.1),
    (4.0, 1.0),
    {"first": (-0.5, 0.0, 1.0)},
    Spread("first", TIMES, (-0.5, 0.0, 0.5), ((0.0, 1.0, 0.0), (0.2, 0.6, 0.2), (0.5, 0.25, 0.25))),
)


def row(method: str, simulated: bool, seconds: tuple[float, ...] = (1.0, 3.0, 2.0), error: float = 1e-3) -> Measured:
    spent = None if simulated else Spent(seconds, 12_000_000, 34_000_000)
    layers = LAYERS if simulated else None
    by_time = tuple((t, error) for t in TIMES)
    return Measured(method, method, simulated, 8, 8, 0.9, 0.8, GREY, error, by_time, 30.0, 0.9, spent, layers)


ROWS = (row("fp32", False, error=0.0), row("openvino_int8", False, (0.5, 0.6, 0.4)), row("tdq_ptq", True))


def cells(html: str) -> list[list[str]]:
    """The values of a table's lines as they are read."""
    lines = re.findall(r"<tr data-line=.*?</tr>", html)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", line)] for line in lines]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_simulated_row_tells_neither_speed_nor_memory(language: str):
    names = [column.name for column in COLUMNS]
    lines = cells(table(ROWS, language))
    told = {name: [line[1 + names.index(name)] for line in lines] for name in names}
    for name in ("disk", "peak", "seconds", "spread"):
        assert told[name][2] == NONE and NONE not in told[name][:2]
    assert NONE not in told["psnr"] + told["error"] + told["weights"]
    assert told["seconds"][0] == "2.00 s" and told["disk"][0] == "12.0 MB"


def test_the_best_of_the_quantized_rows_is_marked_and_full_precision_never():
    html = table((*ROWS, row("bf16", False, (9.0,))), "en")
    marked = re.findall(r'<td data-value="([^"]*)" class="quant-best">', html)
    assert "0.5" in marked  # the fastest median
    assert "quant-best" not in html.split("data-line")[1]


def test_the_csv_has_full_numbers_and_nothing_where_nothing_is_told():
    lines = list(csv.DictReader(StringIO(as_csv(ROWS))))
    assert [line["method"] for line in lines] == ["fp32", "openvino_int8", "tdq_ptq"]
    assert float(lines[1]["seconds"]) == 0.5 and float(lines[1]["psnr"]) == 30
    assert lines[2]["kind"] == "simulated" and lines[2]["seconds"] == lines[2]["disk"] == lines[2]["peak"] == ""


def test_a_program_is_told_the_same():
    told = json.loads(json.dumps(as_json(ROWS)))
    assert told[2]["seconds"] is None and told[1]["seconds"] == 0.5 and told[2]["simulated"] is True


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_whole_view_is_drawn_after_every_row(count: int, language: str):
    html = view(BLACK, ROWS[:count], INSIDE, "title", language)
    assert html.count('class="quant-tile"') == 1 + count and html.count("data-pair=") == count
    assert html.count("<div") == html.count("</div>") and html.count("<figure") == html.count("</figure>")
    assert html.count("data-layers=") == count
    assert "quant." not in re.sub(r'"[^"]*"', "", html)  # no key in the place of its text


def test_a_difference_is_eight_times_as_large_and_cut_off_at_white():
    assert difference(GREY, BLACK).getpixel((0, 0)) == (80, 160, 255)
    assert difference(GREY, GREY).getextrema() == ((0, 0),) * 3


def test_a_small_picture_is_enlarged_in_whole_pixels():
    assert enlarged(BLACK).size == (256, 256)
    assert enlarged(Image.new("RGB", (512, 256))).size == (256, 128)


def test_the_card_has_a_place_for_each_picture():
    one, three = (card_of(BLACK, ROWS[:count], "title") for count in (1, 3))
    assert three.height == one.height and three.width - one.width == 2 * (192 + 16)


def test_the_front_is_what_no_other_beats_in_both():
    assert plots._front([(1.0, 30.0), (2.0, 40.0), (2.5, 35.0), (0.5, 20.0)]) == [(1.0, 30.0), (2.0, 40.0), (0.5, 20.0)]


def test_the_pareto_plot_has_real_rows_alone_and_needs_two():
    assert plots.pareto(ROWS, "en").count("<circle") == 2
    assert "<svg" not in plots.pareto(ROWS[1:], "en")


@pytest.mark.parametrize(("value", "end"), [(0.13, 0.15), (1.0, 1.0), (15.76, 20.0), (4.2, 4.5), (0.97, 1.0)])
def test_an_axis_ends_at_a_plain_number(value: float, end: float):
    assert plots.rounded_up(value) == pytest.approx(end)


def test_steps_and_number_line_are_of_the_layer_that_moves_most():
    assert "first" in plots.steps(ROWS[2], INSIDE, "en") and "first: 16 levels" in plots.number_line(
        ROWS[2], INSIDE, "en"
    )
    assert plots.steps(ROWS[1], INSIDE, "en") == plots.number_line(ROWS[1], INSIDE, "en") == ""


def test_a_violin_stands_at_each_time_and_is_widest_where_most_values_are():
    html = plots.violins(INSIDE, "en")
    paths = re.findall(r'fig-bars" d="M([^z]*)z"', html)
    assert len(paths) == len(TIMES) and "first: each shape" in html
    for path, widest in zip(paths, (1, 1, 0), strict=True):
        places = [tuple(map(float, place.split())) for place in path.split("L")]
        widths = [places[i][0] - places[-1 - i][0] for i in range(3)]
        assert max(widths) == widths[widest] > 0 and min(widths) >= 0


def test_the_distance_is_told_where_it_was_measured():
    rows = (ROWS[0], replace(ROWS[1], fd_world=5.25))
    lines = cells(table(rows, "en"))
    assert [line[-1] for line in lines] == [NONE, "5.2"]
    assert [one["fd_world"] for one in as_json(rows)] == [None, 5.25]


def test_ranges_are_told_in_numbers():
    told = plots.ranges(INSIDE, "en")
    assert "50% of the layers" in told and "4.00 times" in told


def test_every_method_is_offered_and_simulated_ones_are_signed():
    offered = choices(METHODS)
    ids = [value for _, value in offered]
    assert len(set(ids)) == len(ids) and "openvino_int8" in ids and "tdq_ptq-w4a4" in ids
    assert all(name.startswith("≈") == ("-w" in value) for name, value in offered)


def test_what_does_not_run_is_told_with_its_reason():
    error = ModelUnavailable("quant_needs_package", method="quanto_int8", package="optimum-quanto")
    assert "pip install optimum-quanto" in unavailable([("quanto_int8", error)], "zh")
    assert unavailable([], "en") == ""


def test_a_game_puts_the_quantized_picture_on_either_side_and_says_which():
    pairs = [Pair(BLACK, GREY)] * 10
    games = [blind(pairs, "TDQ", "en", seed) for seed in range(3)]
    sides = [re.findall(r'data-quantized="(\d)"', game) for game in games]
    assert all(len(one) == 10 and {"0", "1"} == set(one) for one in sides) and sides[0] != sides[1]
    rounds = games[0].split('class="blind-round"')[1:]
    grey = re.search(r'src="([^"]+)"', rounds[sides[0].index("0")]).group(1)  # type: ignore[union-attr]
    for side, part in zip(sides[0], rounds, strict=True):
        assert re.findall(r'src="([^"]+)"', part)[int(side)] == grey
