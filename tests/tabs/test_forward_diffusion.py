"""The maths tab: what each section says of what is on the page, and how it refuses what it cannot take."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from studio.checks import CHECKS, ERRATA
from studio.diffusion.families import FAMILIES
from studio.engine.family_race import Standing
from studio.engine.short_training import Trained
from studio.errors import InvalidInput, ModelUnavailable
from studio.events import Done, Loading, Row
from studio.tabs import forward_diffusion
from studio.tabs.maths import (
    checked,
    codes,
    confusion,
    families,
    forward,
    plane,
    reverse,
    riddles,
    training,
)
from studio.tabs.maths import page as maths_page
from studio.tabs.maths.forward_views import compared, filmstrips, live, overlaid, schedules
from studio.tabs.maths.page import asked
from studio.text import LANGUAGES
from studio.train import ddpm, places, vae_lab
from studio.train.run import Options
from studio.ui.services import Services
from tests.e2e.pictures import files

__all__ = ["files"]
REQUEST: Any = SimpleNamespace(query_params={}, headers={})
GOOD = {"image": None, "schedule": "cosine", "T": 100, "zero": False, "seed": 7, "t": 30}


def wish(**changed: Any) -> maths_page.Asked:
    return asked(*{**GOOD, **changed}.values(), *forward.DRAWN)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A DDPM and autoencoders that were trained for a few steps."""
    folder: Path = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", folder / "runs")
        for stage in (ddpm, vae_lab):
            stage.main(Options("smoke", out=folder))
        yield folder


@pytest.fixture
def services(page: gr.Blocks, models: Path) -> Services:
    studio: Any = SimpleNamespace(settings=SimpleNamespace(models_dir=models))
    with gr.Tabs() as tabs, gr.Tab(forward_diffusion.NAME) as own:
        return Services(studio, page, gr.BrowserState(), tabs, own, gr.State())


def test_the_tab_offers_one_endpoint_whose_arguments_have_widgets(services: Services, page: gr.Blocks):
    forward_diffusion.build(services)
    (offered,) = [event for event in page.fns.values() if event.api_visibility == "public"]
    arguments = [name for name in inspect.signature(offered.fn).parameters if name != "request"]
    assert offered.api_name == "forward"
    assert len(arguments) == len(offered.inputs)
    assert all(f"{name}:" in (inspect.getdoc(offered.fn) or "") for name in arguments)


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_views_are_drawn_in_both_languages(language: str):
    for name in forward.SCHEDULES:
        one = wish(schedule=name)
        for view in (live, overlaid, filmstrips, compared):
            html = view(one, language)
            assert "data:image/" in html or "<polyline" in html
            assert "nan" not in re.sub(r"data:[^\"]*", "", html)


def test_the_chosen_schedule_is_among_those_that_are_compared():
    assert [one.name for one in schedules(wish())] == ["linear", "scaled_linear", "cosine", "sigmoid"]
    assert schedules(wish(schedule="drawn"))[-1].name == "drawn"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"T": 0}, "T"),
        ({"T": 4001}, "T"),
        ({"T": None}, "T"),
        ({"T": "all"}, "T"),
        ({"t": 100}, "t"),
        ({"t": -1}, "t"),
        ({"seed": 1.5}, "seed"),
        ({"schedule": "steep"}, "schedule"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(changed: dict[str, Any], field: str):
    with pytest.raises(InvalidInput) as refused:
        wish(**changed)
    assert refused.value.values["field"] == field


@pytest.mark.parametrize("name", ["text.png", "cut.png", "huge.png"])
def test_what_is_no_picture_is_refused(files: dict[str, Path], name: str):
    with pytest.raises(InvalidInput) as refused:
        wish(image={"path": str(files[name])})
    assert refused.value.values["field"] == "image"


def test_an_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(InvalidInput, match="image"):
        wish(image={"path": str(tmp_path / "empty.png")})


def test_an_upload_is_cut_to_its_middle_square(files: dict[str, Path], tmp_path: Path):
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))
    wide.save(tmp_path / "wide.png")
    picture = wish(image={"path": str(tmp_path / "wide.png")}).picture
    assert picture.size == (maths_page.SIDE,) * 2
    assert np.asarray(picture)[128, 128].tolist() == [0, 0, 255]


def test_a_shorter_schedule_takes_the_time_with_it(services: Services):
    fields = forward.draw_forward()
    updates = fields.redraw(REQUEST, None, "cosine", 50, False, 7, 250, *forward.DRAWN)
    assert (updates[fields.time]["maximum"], updates[fields.time]["value"]) == (49, 49)
    assert updates[fields.alert]["visible"] is False


def test_the_way_to_noise_can_be_kept(services: Services, monkeypatch: pytest.MonkeyPatch):
    fields, values = forward.draw_forward(), (None, "cosine", 50, False, 7, 20, *forward.DRAWN)
    file = fields.filmed(REQUEST, *values)[fields.file]
    assert [Path(path).suffix for path in file["value"]] == [".gif", ".mp4"]
    monkeypatch.setattr("studio.engine.films.mp4", lambda frames: None)
    alone = fields.filmed(REQUEST, *values)[fields.file]
    assert [Path(path).suffix for path in alone["value"]] == [".gif"]
    assert "MP4" in alone["label"] and alone["label"] != file["label"]
    assert "T must" in fields.filmed(REQUEST, None, "cosine", 0, *values[3:])[fields.alert]["message"]


def test_a_refusal_says_why_and_changes_nothing_else(services: Services):
    fields = forward.draw_forward()
    updates = fields.redraw(REQUEST, None, "cosine", 0, False, 7, 250, *forward.DRAWN)
    assert "T must be a whole number from 1 to 4000" in updates[fields.alert]["message"]
    assert set(updates) == {fields.alert, fields.drawing}


def test_a_program_gets_the_picture_and_its_numbers(files: dict[str, Path]):
    picture, facts = forward_diffusion.noised_at({"path": str(files["picture.png"])}, "linear", 1000, 500, 1)
    assert picture.size == (maths_page.SIDE,) * 2
    assert facts["variance"] == pytest.approx(facts["predicted_variance"], abs=0.05)
    with pytest.raises(InvalidInput, match="image"):
        forward_diffusion.noised_at(None, "linear", 1000, 500, 1)


def test_every_check_that_can_be_asked_has_its_light(services: Services):
    lights = checked.draw_lights()
    values = (None, "cosine", 100, False, 7, 30, *forward.DRAWN)
    *_, (summary, text) = lights.run(REQUEST, *values)
    assert f"{len(CHECKS)} of {len(CHECKS)} hold" in summary
    assert text.count("studio-tag-holds") == len(CHECKS)
    assert all(check.source in text for check in CHECKS)
    *_, (short, _) = lights.run(REQUEST, None, "cosine", 1, False, 7, 0, *forward.DRAWN)
    assert "cannot be asked" in short


def test_lights_of_a_wrong_schedule_say_why_there_are_none(services: Services):
    ((told, _),) = checked.draw_lights().run(REQUEST, None, "cosine", -5, False, 7, 30, *forward.DRAWN)
    assert "T must be" in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_card_tells_what_is_said_and_what_is_right(language: str):
    html = checked.erratum_card(ERRATA[0], language)
    assert "495" in html and "0.1414" in html and ERRATA[0].source in html


def test_the_plane_is_drawn_and_a_bad_wish_is_told(services: Services):
    section = plane.draw_plane()
    updates = section.show(REQUEST, 1, 3, 80, "ddim")
    assert updates[section.found].count("<svg") == 4
    assert "0.500" in updates[section.found] and "0.250" in updates[section.found]
    assert "gamma" in section.show(REQUEST, 1, 99, 80, "ddim")[section.alert]["message"]


def test_a_walk_back_and_its_fork_are_shown(services: Services, models: Path):
    section = reverse.draw_reverse(services)
    values, fork = ("cat", 4, "ddpm", "beta", 2, 7, False, True), (2, "house", 1, 8)
    updates = section.answer(models / reverse.FOLDER, REQUEST, values, None)
    assert updates[section.found].count("<img") == 3 * 4 + 1
    forked = section.answer(models / reverse.FOLDER, REQUEST, values, fork)[section.found]
    assert forked.count("<img") == 2 * (3 * 4 + 1)
    refused = section.answer(models / reverse.FOLDER, REQUEST, ("cat", 0, *values[2:]), None)
    assert "steps" in refused[section.alert]["message"]


def test_milestones_can_be_looked_through(services: Services, models: Path):
    section = reverse.draw_reverse(services)
    html = reverse.page_of(models / reverse.FOLDER, section.pages, 0, "en")
    assert html.count("<img") == 2 * 10
    assert str(section.pages[0]["step"]) in html
    assert reverse.page_of(models / reverse.FOLDER, (), 0, "en") == ""


def test_without_a_model_its_name_is_told(tmp_path: Path):
    with pytest.raises(ModelUnavailable, match="ddpm"):
        reverse.opened_model(tmp_path / "ddpm")
    with pytest.raises(ModelUnavailable, match="vae-lab"):
        codes.opened_lab(tmp_path / "vae-lab")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_map_its_dots_and_its_table_are_drawn(models: Path, language: str):
    lab = codes.opened_lab(models / codes.FOLDER)
    assert codes.drawn_map(lab, "full").size == (codes.MAP_SIDE,) * 2
    assert "<path" in codes.told(lab, "heavy", 2.0, language)
    assert "z = (0.00, 0.00)" in codes.meant(lab, "full", (codes.MAP_SIDE / 2, codes.MAP_SIDE / 2), language)
    assert codes.measured(models / codes.FOLDER, language).count("<tr>") == 1 + len(codes.NAMES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_matrix_is_shown_for_each_level_of_noise(language: str):
    levels = [{"t": 0, "matrix": [[5, 0], [1, 4]]}, {"t": 900, "matrix": [[2, 3], [3, 2]]}]
    told = {"classes": ["cat", "house"], "schedule": "cosine", "levels": levels}
    clear, noisy = (confusion.shown(told, level, language) for level in (0, 1))
    assert "90.0%" in clear and "40.0%" in noisy
    assert clear.count("<td") == 4 and "--ink: 80%" in clear
    assert confusion.shown({}, 0, language) == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_training_and_a_race_show_how_far_they_are_and_how_they_ended(language: str):
    tiles = (Image.new("RGB", (8, 8)),) * 2
    trained = Trained(((10, 0.9), (20, 0.5)), tiles, tiles, 12.0)
    standings = {name: Standing(((0.0, 0.0), (9.0, 9.0)), 0.4, 0.5, 7) for name in FAMILIES}
    now = training.shown_event(Row({"trained": trained, "spent_seconds": 3.2}), language)
    assert now.count("<img") == 4 and "<polyline" in now and "3" in now
    assert training.shown_event(Done(trained), language) != now
    assert families.shown_event(Done(standings), language).count("<figure") == len(FAMILIES)
    assert families.shown_event(Row({"standings": standings, "spent_seconds": 1.0}), language)
    assert training.shown_event(Loading("x"), language) == families.shown_event(Loading("x"), language) == ""


def test_a_riddle_is_asked_answered_once_and_counted(services: Services, models: Path):
    game, model = riddles.draw_riddles(), reverse.opened_model(models / reverse.FOLDER)
    asked = game.new_riddle(model, riddles.Score(), "en")
    assert asked[game.riddle].count("<img") == 5
    updates = game.answer(model, asked[game.score], "en", 0)
    assert "Guessing nothing" in updates[game.verdict]
    assert (updates[game.score].asked, updates[game.score].riddle) == (1, None)
    with pytest.raises(InvalidInput, match="open question"):
        game.answer(model, updates[game.score], "en", 0)


def test_a_quiz_is_judged(services: Services, models: Path):
    game, model = riddles.draw_riddles(), reverse.opened_model(models / reverse.FOLDER)
    asked = game.new_quiz(model, riddles.Score(), "en")
    assert asked[game.pictures].count("<img") == riddles.QUIZ
    updates = game.tell(model, asked[game.score], "en", list(range(riddles.QUIZ)))
    assert f"of {riddles.QUIZ} told apart" in updates[game.result]
    assert 2 <= updates[game.score].right <= 6  # all were said to be drawn
