"""What was seen inside a generation reaches the browser whole, and a prompt cannot bring markup along."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import gradio as gr
import numpy as np
import pytest

from studio.engine.inside import Frame, Inside
from studio.engine.words import WORD, Word
from studio.events import Done, GenerationResult, Queued, Stopped
from studio.text import t
from studio.ui.inside import InsidePanel, draw_inside, inside_switch, markup, with_phrases
from tests.ui.works import picture, result

GRID = (3, 5)


def seen(prompt: str, frames: int = 3, images: int = 1, total: int | None = None, seed: int = 0) -> Inside:
    """An inside with maps drawn at random whose columns sum to one."""
    words = tuple(Word(match[0], *match.span()) for match in WORD.finditer(prompt))
    raw = np.random.default_rng(seed).random((frames, images, len(words) + 1, *GRID))
    maps = (raw / raw.sum(2, keepdims=True)).astype(np.float16)
    shown = tuple(
        Frame(index + 1, 999.0 - index, 0.75, (picture(),) * images, (picture("blue"),) * images, maps[index])
        for index in range(frames)
    )
    total = frames if total is None else total
    return Inside(words, shown, tuple((0.5,) * images for _ in range(total)), total)


def watched(prompt: str = "a red ball", **options: Any) -> GenerationResult:
    images = options.get("images", 1)
    return replace(result(num_images=images, prompt=prompt), inside=seen(prompt, **options))


class Parsed(HTMLParser):
    """Every element's attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def having(self, attribute: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.elements if attribute in attributes]

    @property
    def packed(self) -> Any:
        return json.loads(self.having("data-inside")[0]["data-inside"] or "")


def html_of(drawn: GenerationResult, language: str = "en") -> Parsed:
    return Parsed(markup(drawn.inside, drawn, language))


@pytest.fixture
def panel(page: gr.Blocks) -> InsidePanel:
    return draw_inside({"红色", "红色汽车"})


def test_the_switch_is_off_until_somebody_asks(page: gr.Blocks):
    assert inside_switch().value is False


@pytest.mark.parametrize("event", [Queued(0), Stopped(), Done(result())])
def test_without_an_inside_the_place_is_hidden_and_empty(panel: InsidePanel, event: Any):
    assert panel.updates(event, "en") == {panel.box: gr.update(visible=False), panel.html: ""}


def test_a_result_that_was_watched_shows_the_place(panel: InsidePanel):
    updates = panel.updates(Done(watched()), "en")
    assert updates[panel.box] == gr.update(visible=True)
    assert "data-inside" in updates[panel.html]


def test_what_is_shown_beside_is_told_with_every_update(panel: InsidePanel):
    other = gr.HTML()
    told = list(panel.beside(lambda event, language: iter([{other: "1"}, {other: "2"}]))(Done(watched()), "en"))
    assert [updates[other] for updates in told] == ["1", "2"]
    assert all(updates[panel.box]["visible"] for updates in told)


def test_the_packed_maps_are_the_maps_and_their_mean_goes_first():
    drawn = watched(images=2, frames=4)
    packed = html_of(drawn).packed
    maps = np.stack([frame.maps for frame in drawn.inside.frames]).astype(float)  # (frames, images, words + 1, h, w)
    expected = np.concatenate([maps.mean(0, keepdims=True), maps])
    for image in range(2):
        levels = np.frombuffer(base64.b64decode(packed["maps"][image]), np.uint8).reshape(5, 4, *GRID)
        low, high = np.moveaxis(np.array(packed["ranges"][image]), -1, 0)[..., None, None]
        np.testing.assert_allclose(low + (high - low) * levels / 255, expected[:, image], atol=3e-3)
    assert packed["size"] == [5, 3]


def test_a_map_of_one_value_is_packed_as_that_value():
    drawn = watched()
    flat = np.full_like(drawn.inside.frames[0].maps, 0.25)
    drawn = replace(drawn, inside=replace(drawn.inside, frames=(replace(drawn.inside.frames[0], maps=flat),)))
    assert html_of(drawn).packed["ranges"] == [[[[0.25, 0.25]] * 4] * 2]


def test_the_word_that_varies_most_is_shown_first():
    drawn = watched("a red ball", frames=1)
    maps = np.full((1, 4, *GRID), 0.25, np.float16)
    maps[0, 2, 1, 1], maps[0, 3, 1, 1] = 0.5, 0.0  # what is no word varies as much, and is not chosen
    drawn = replace(drawn, inside=replace(drawn.inside, frames=(replace(drawn.inside.frames[0], maps=maps),)))
    assert html_of(drawn).packed["first"] == 2


def test_the_prompt_stands_there_with_each_word_a_button_and_the_rest_at_its_end():
    parsed = html_of(watched("a red-hot ball, 红球"))
    assert [one["data-word"] for one in parsed.having("data-word")] == ["0", "1", "2", "3", "4", "5"]
    assert f"a red-hot ball, 红球 {t('inside.rest')}" in parsed.text


@pytest.mark.parametrize("prompt", ["", "...", "🎨"])
def test_a_prompt_without_words_offers_the_rest_alone(prompt: str):
    assert [one["data-word"] for one in html_of(watched(prompt)).having("data-word")] == ["0"]


@pytest.mark.parametrize("prompt", ["<b>bold</b> ball", 'a "quoted" ball', "a ball' onclick='x", "</div><img src=x>"])
def test_a_prompt_cannot_bring_markup(prompt: str):
    parsed = html_of(watched(prompt))
    assert not [tag for tag, _ in parsed.elements if tag == "b"]
    assert not parsed.having("onclick")
    assert all((one["src"] or "").startswith("data:image/webp;base64,") for one in parsed.having("src"))
    assert prompt[:4] in parsed.text


def test_each_picture_has_its_own_strip_and_the_first_is_open():
    parsed = html_of(watched(images=3))
    parts = parsed.having("data-picture")
    assert [(part["data-picture"], "hidden" in part) for part in parts] == [("0", False), ("1", True), ("2", True)]
    assert len(parsed.having("data-choose")) == 3
    assert len(parsed.having("data-frame")) == 9


def test_one_picture_needs_no_choice():
    assert html_of(watched()).having("data-choose") == []


def test_frames_say_their_step_and_noise():
    labels = html_of(watched(frames=2)).packed["labels"]
    assert labels == ["average of 2 steps", "step 1 of 2, 75% noise", "step 2 of 2, 75% noise"]


def test_it_speaks_chinese():
    assert "第 1 / 2 步" in html_of(watched(frames=2), "zh").packed["labels"][1]


@pytest.mark.parametrize(("total", "told"), [(3, False), (50, True)])
def test_steps_that_are_not_shown_are_told(total: int, told: bool):
    assert ("3 of the 50 steps" in html_of(watched(total=total)).text) is told


def test_without_guidance_it_says_so():
    drawn = watched()
    text = html_of(replace(drawn, inside=replace(drawn.inside, guidance=()))).text
    assert t("inside.no_guidance") in text
    assert t("inside.guidance_info") not in text


def test_without_colours_it_says_so():
    drawn = watched()
    frames = tuple(replace(frame, noisy=(), denoised=()) for frame in drawn.inside.frames)
    parsed = html_of(replace(drawn, inside=replace(drawn.inside, frames=frames)))
    assert t("inside.no_colours") in parsed.text
    assert parsed.having("data-frame") == []


def test_characters_of_a_phrase_become_one_word_whose_shares_add_up():
    inside = seen("红色汽车")
    grouped = with_phrases(inside, "红色汽车", {"红色", "汽车"})
    assert [(word.text, word.start, word.end) for word in grouped.words] == [("红色", 0, 2), ("汽车", 2, 4)]
    for before, after in zip(inside.frames, grouped.frames, strict=True):
        np.testing.assert_array_equal(after.maps[:, 0], before.maps[:, 0] + before.maps[:, 1])
        np.testing.assert_array_equal(after.maps[:, -1], before.maps[:, -1])
        assert after.maps.shape[1] == 3


@pytest.mark.parametrize(
    ("prompt", "phrases", "words"),
    [
        ("红色汽车", {"红色", "红色汽车"}, ["红色汽车"]),
        ("大红色", {"红色"}, ["大", "红色"]),
        ("红,色", {"红色"}, ["红", "色"]),
        ("a red car", {"red car"}, ["a", "red car"]),
        ("色", {"红色"}, ["色"]),
        ("", {"红色"}, []),
    ],
)
def test_the_longest_phrase_of_neighbours_wins(prompt: str, phrases: set[str], words: list[str]):
    assert [word.text for word in with_phrases(seen(prompt), prompt, phrases).words] == words
