"""A person at the page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Visit

pytestmark = pytest.mark.e2e

PHONE = {"width": 390, "height": 844}
# A page that is loaded anew while a stream is open: the browser reports the stream that it broke off itself.
BROKEN_OFF = ("AbortError", "Connection errored out", "BodyStreamBuffer was aborted")


def write(page: Page, text: str) -> None:
    page.locator("#text2img-prompt textarea").fill(text)


def set_steps(page: Page, label: str, steps: int) -> None:
    box = page.get_by_role("spinbutton", name=re.compile(label))
    box.fill(str(steps))
    box.press("Tab")


def make_slow(page: Page, side: int = 512) -> None:
    """A picture that takes long enough for a browser on a busy machine to come in between."""
    set_steps(page, "Steps", 100)
    set_steps(page, "Width", side)
    set_steps(page, "Height", side)


def generate(page: Page) -> None:
    page.locator("#generate").click()


def picture(page: Page) -> str | None:
    """The address of the first picture."""
    return page.locator("#picture-1 img").get_attribute("src")


def test_it_opens_with_an_invitation_and_no_picture(visit: Visit):
    page = visit(locale="en-US")
    expect(page.get_by_text("Your picture appears here")).to_be_visible()
    expect(page.locator("#picture-1 img")).to_have_count(0)
    expect(page.locator("#stop")).to_be_disabled()


def test_a_prompt_becomes_a_picture(visit: Visit):
    page = visit(locale="en-US")
    write(page, "a red umbrella on the beach")
    set_steps(page, "Steps", 4)
    generate(page)
    expect(page.locator("#phase")).to_have_text("Done")
    expect(page.locator("#picture-1 img")).to_be_visible()
    expect(page.get_by_text("Steps per second")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")


@pytest.mark.parametrize("locale", ["zh-CN", "zh"])
def test_a_chinese_browser_reads_and_draws_chinese(visit: Visit, locale: str):
    page = visit(locale=locale)
    expect(page.locator("#generate")).to_have_text("生成")
    page.get_by_role("button", name="沙滩上的红伞").click()
    expect(page.locator("#text2img-prompt textarea")).to_have_value(re.compile("沙滩"))
    set_steps(page, "步数", 4)
    generate(page)
    expect(page.locator("#phase")).to_have_text("完成")
    expect(page.locator("#picture-1 img")).to_be_visible()


def test_the_language_can_be_switched_on_the_page(visit: Visit):
    page = visit(locale="en-US")
    page.locator("#language").click()
    expect(page.locator("#generate")).to_have_text("生成")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.locator("#surprise").click()
    expect(page.locator("#text2img-prompt textarea")).to_have_value(re.compile("[\u4e00-\u9fff]"))
    page.locator("#language").click()
    expect(page.locator("#generate")).to_have_text("Generate")


def test_the_preview_moves_while_it_denoises(visit: Visit):
    page = visit(locale="en-US")
    write(page, "a house in the snow")
    make_slow(page, side=256)
    generate(page)
    expect(page.locator("#phase")).to_contain_text("step")
    expect(page.locator("#picture-1 img")).to_be_visible()
    first = picture(page)
    page.wait_for_function("old => document.querySelector('#picture-1 img')?.getAttribute('src') !== old", arg=first)
    expect(page.locator("#phase")).to_have_text("Done")


def test_stop_ends_a_job_and_the_next_one_runs(visit: Visit):
    page = visit(locale="en-US")
    write(page, "a cat in a meadow")
    make_slow(page)
    generate(page)
    expect(page.locator("#phase")).to_contain_text("step")
    page.locator("#stop").click()
    expect(page.locator("#phase")).to_have_text("Stopped")
    set_steps(page, "Steps", 2)
    generate(page)
    expect(page.locator("#phase")).to_have_text("Done")


def test_a_page_loaded_anew_finds_its_job(visit: Visit):
    page = visit(forgiven=BROKEN_OFF, locale="en-US")
    write(page, "a tree in the forest")
    make_slow(page, side=256)
    generate(page)
    expect(page.locator("#phase")).to_contain_text("step")
    page.reload()
    expect(page.locator("#phase")).to_have_text("Done")
    expect(page.locator("#picture-1 img")).to_be_visible()


def test_four_pictures_stand_side_by_side_with_their_seeds(visit: Visit):
    page = visit(locale="en-US")
    write(page, "a mug in a room")
    set_steps(page, "Steps", 2)
    set_steps(page, "Pictures", 4)
    seed = page.get_by_role("spinbutton", name="Seed")
    seed.fill("5")
    seed.press("Tab")
    page.get_by_label("Keep").check()
    generate(page)
    expect(page.locator("#phase")).to_have_text("Done")
    for index, own in enumerate((5, 6, 7, 8), start=1):
        expect(page.locator(f"#picture-{index} img")).to_be_visible()
        expect(page.get_by_text(f"seed {own}", exact=True)).to_be_visible()


def test_an_empty_seed_is_refused_by_its_name(visit: Visit):
    page = visit(locale="en-US")
    page.get_by_role("spinbutton", name="Seed").fill("")
    page.get_by_label("Keep").check()
    generate(page)
    expect(page.get_by_text(re.compile("Seed must be a whole number from 0"))).to_be_visible()


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_a_phone_needs_no_sideways_scrolling(visit: Visit, locale: str):
    page = visit(locale=locale, viewport=PHONE)
    page.locator("#surprise").click()
    generate(page)
    expect(page.locator("#picture-1 img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    # A model's name may be long.
    page.evaluate("document.querySelector('.studio-state .ms-gr-ant-tag').textContent = 'model-'.repeat(40)")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_dark_browser_gets_a_dark_page(visit: Visit):
    page = visit(color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 60


def test_the_theme_can_be_switched_on_the_page(visit: Visit):
    page = visit(color_scheme="light")
    page.locator("#theme").click()
    expect(page.locator("body")).to_have_class(re.compile("dark"))
