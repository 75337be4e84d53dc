"""What the maths tab draws with the studio's own models: walks back in latents, guidance over gamma."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from studio.engine.costs import DECODER, LATENTS, PIXELS, SMALL, Cost, Costs
from studio.engine.guidance_sweep import GuidancePoint
from studio.engine.latent_walking import Decoded
from studio.errors import InvalidInput, ModelUnavailable
from studio.events import Done, Loading, Row, Step
from studio.tabs.maths import costs, guidance, reverse_latent
from studio.text import LANGUAGES


def test_a_walk_in_latents_is_asked_for_and_shown():
    values, fork = ("cat", 8, "ddim", "beta", 2, 7, False, True), (3, "house", 1.5, 8)
    specs: Any = {"base": SimpleNamespace(native_size=128)}
    work = reverse_latent.latent_work(specs, ("a cat", "a house"), values, fork)
    assert (work.request.prompt, work.walk.kind, work.request.width, work.request.seed) == ("a cat", "a cat", 128, 7)
    assert work.fork is not None and (work.fork.at, work.fork.prompt, work.fork.gamma) == (3, "a house", 1.5)
    for field, prompts, changed in (("prompt", (None, ""), values), ("steps", ("a", "b"), ("cat", 0, *values[2:]))):
        with pytest.raises(InvalidInput, match=field):
            reverse_latent.latent_work(specs, prompts, changed, None)
    with pytest.raises(InvalidInput, match="base_id"):
        reverse_latent.latent_work({}, ("a", "b"), values, None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_walks_in_latents_show_every_row(language: str):
    tile = Image.new("RGB", (8, 8))
    walk = Decoded((999, 0), (tile,) * 2, (tile,) * 2, (tile,) * 2, tile)
    assert reverse_latent.shown_walk(Done((walk,)), language).count("<img") == 7
    assert reverse_latent.shown_walk(Done((walk, walk)), language).count("<img") == 14
    assert "3" in reverse_latent.shown_walk(Step(3, 9), language)
    assert reverse_latent.shown_walk(Loading("x"), language) == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_guidance_is_shown_as_far_as_it_has_come(language: str):
    tile = Image.new("RGB", (8, 8))
    points = tuple(GuidancePoint(gamma, 0.5, 2.0 - gamma / 8, (tile,) * 8) for gamma in (0.0, 1.0, 8.0))
    now = guidance.shown_event(Row({"points": points[:1], "total": 6}), language)
    end = guidance.shown_event(Done(points), language)
    assert now.count("<img") == guidance.SHOWN and end.count("<img") == 3 * guidance.SHOWN
    assert end.count("<figure") == 2 and "γ = 8: 50%, 50%" in end
    assert guidance.shown_event(Step(1, 9), language) == ""


def test_guidance_needs_an_eye_a_model_and_a_prompt():
    def services(**parts: Any) -> Any:
        studio = {"eye": object(), "specs_for": lambda task: {"base": SimpleNamespace(native_size=128)}, **parts}
        return SimpleNamespace(studio=SimpleNamespace(**studio))

    assert guidance.work(services(), guidance.PROMPT).request.width == 128
    with pytest.raises(ModelUnavailable, match="eye"):
        guidance.work(services(eye=None), guidance.PROMPT)
    with pytest.raises(InvalidInput, match="base_id"):
        guidance.work(services(specs_for=lambda task: {}), guidance.PROMPT)
    with pytest.raises(InvalidInput, match="prompt"):
        guidance.work(services(), None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_of_costs_has_a_row_for_each_network(language: str):
    rows = tuple(Cost(name, (3, 16, 16), 2_000_000, 0.02, 4_096) for name in (PIXELS, SMALL, LATENTS, DECODER))
    html = costs.told(Costs(rows, 2), language)
    assert html.count("<tr>") == 5 and html.count("20 ms") == 4 and "2.0 M" in html
    assert "0.50" in html and "0.52" in html
