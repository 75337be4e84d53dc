"""A person looks inside a generation: its steps, the words' heat maps and guidance's share."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Visit
from tests.e2e.test_page import BROKEN_OFF, PHONE, generate, set_steps, write

pytestmark = pytest.mark.e2e

PROMPT = "a red umbrella and a blue car on the beach"


def ask(page: Page, prompt: str = PROMPT, steps: int = 3, label: str = "Steps") -> None:
    """Draw with the switch on, and wait for what is shown."""
    write(page, prompt)
    set_steps(page, label, steps)
    page.locator("#inside-switch input").check()
    generate(page)
    expect(page.locator(".inside canvas")).to_be_visible()


def word(page: Page, text: str) -> Locator:
    return page.locator(".inside-prompt").get_by_role("button", name=text, exact=True)


def painted(page: Page) -> list[int]:
    """The heat map's pixels."""
    pixels: list[int] = page.locator(".inside canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    return pixels


@pytest.fixture
def watched(visit: Visit) -> Iterator[Page]:
    page = visit(locale="en-US")
    ask(page)
    yield page


def test_choosing_a_word_paints_its_map_and_choosing_it_again_takes_it_away(watched: Page):
    word(watched, "umbrella").click()
    expect(word(watched, "umbrella")).to_have_attribute("aria-pressed", "true")
    first = painted(watched)
    word(watched, "car").click()
    expect(word(watched, "umbrella")).to_have_attribute("aria-pressed", "false")
    assert painted(watched) != first
    word(watched, "car").click()
    expect(watched.locator(".inside canvas")).to_be_hidden()
    expect(watched.locator(".inside-stage img")).to_be_visible()


def test_shift_adds_words_and_all_of_them_together_get_all_attention(watched: Page):
    every = watched.locator("[data-word]")
    every.first.click()
    for index in range(1, every.count()):
        every.nth(index).click(modifiers=["Shift"])
    for end in (".inside-low", ".inside-high"):
        expect(watched.locator(end)).to_have_text("100%")


def test_the_slider_and_the_strip_choose_a_step(watched: Page):
    told, frames = watched.locator(".inside output"), watched.locator(".inside-frame")
    expect(told).to_have_text("average of 3 steps")
    expect(frames).to_have_count(3)
    mean = painted(watched)
    slider = watched.get_by_role("slider", name="Step", exact=True)
    slider.press("ArrowRight")
    expect(told).to_have_text(re.compile("step 1 of 3, 100% noise"))
    expect(frames.nth(0)).to_have_attribute("aria-pressed", "true")
    assert painted(watched) != mean
    frames.nth(2).click()
    expect(slider).to_have_value("3")
    expect(watched.locator(".studio-plot-now")).to_have_attribute("x1", "100%")


def test_a_page_loaded_anew_shows_it_again(visit: Visit):
    page = visit(forgiven=BROKEN_OFF, locale="en-US")
    ask(page)
    page.reload()
    expect(page.locator(".inside canvas")).to_be_visible()
    expect(word(page, "umbrella")).to_be_visible()


def test_the_next_picture_takes_its_place_or_takes_it_away(watched: Page):
    ask(watched, "一只橙色的猫", steps=2)
    expect(watched.locator(".inside output")).to_have_text("average of 2 steps")
    expect(word(watched, "橙色")).to_be_visible()
    watched.locator("#inside-switch input").uncheck()
    generate(watched)
    expect(watched.locator("#inside")).to_have_count(0)
    expect(watched.locator("#phase")).to_have_text("Done")


def test_each_of_several_pictures_has_its_own(visit: Visit):
    page = visit(locale="en-US")
    set_steps(page, "Pictures", 2)
    ask(page, steps=2)
    first, shown = painted(page), page.locator(".inside-stage img").get_attribute("src")
    page.get_by_role("button", name="Picture 2", exact=True).click()
    assert painted(page) != first
    assert page.locator(".inside-stage img").get_attribute("src") != shown
    expect(page.locator(".inside-frame").locator("visible=true")).to_have_count(2)


def test_a_prompt_is_only_ever_text(visit: Visit):
    page = visit(locale="en-US")
    prompt = "{{value}} ${1+1} <img src=x onerror=alert(1"
    ask(page, prompt, steps=1)
    expect(page.locator(".inside-prompt")).to_contain_text(prompt)


def test_a_chinese_phone_reads_chinese_without_sideways_scrolling(visit: Visit):
    page = visit(locale="zh-CN", viewport=PHONE)
    ask(page, "沙滩上的红伞和蓝色汽车", label="步数")
    expect(page.locator(".inside output")).to_have_text("3 步的平均")
    expect(word(page, "汽车")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_words_can_be_read_in_the_dark(visit: Visit):
    page = visit(locale="en-US", color_scheme="dark")
    ask(page)
    colours = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    for chip in (word(page, "umbrella"), word(page, "on")):
        text, ground = (sum(map(int, re.findall(r"\d+", one)[:3])) for one in chip.evaluate(colours))
        assert text - ground > 200
