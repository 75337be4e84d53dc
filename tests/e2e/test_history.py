"""A person and the pictures of before."""

from __future__ import annotations

import re
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Visit, open_tab
from tests.e2e.test_page import BROKEN_OFF, PHONE, generate, set_steps, write

pytestmark = pytest.mark.e2e

SERVED_PATHS = ("outputs/history/history.sqlite3", "../outputs/history/history.sqlite3")


def draw(page: Page, prompt: str, seed: int) -> None:
    write(page, prompt)
    set_steps(page, "Steps", 3)
    box = page.get_by_role("spinbutton", name="Seed")
    box.fill(str(seed))
    box.press("Tab")
    page.get_by_label("Keep").check()
    generate(page)
    expect(page.locator("#phase")).to_have_text("Done")


def test_a_picture_is_found_again_sent_back_and_deleted(visit: Visit):
    page = visit(forgiven=BROKEN_OFF, locale="en-US")
    open_tab(page, "History")
    expect(page.locator("#history-empty")).to_be_visible()
    open_tab(page, "Text to image")
    draw(page, "a red umbrella on the beach", seed=11)
    draw(page, "a blue car in the snow", seed=12)
    page.reload()
    expect(page.locator("#generate")).to_be_enabled()

    open_tab(page, "History")
    tiles = page.locator("#history-gallery button.thumbnail-item")
    expect(tiles).to_have_count(2)
    tiles.nth(1).click()
    facts = page.locator("#history-facts")
    expect(facts).to_contain_text("a red umbrella on the beach")
    expect(facts).to_contain_text("11")
    expect(page.locator("#history-picture img")).to_be_visible()
    with page.expect_download() as download:
        page.locator("#history-download").click()
    assert download.value.path().read_bytes()[:4] == b"\x89PNG"

    page.locator("#history-send").click()
    expect(page.locator("#text2img-prompt textarea")).to_have_value("a red umbrella on the beach")
    expect(page.get_by_role("spinbutton", name=re.compile("Steps"))).to_have_value("3")
    expect(page.get_by_role("spinbutton", name="Seed")).to_have_value("11")

    open_tab(page, "History")
    tiles.first.click()
    expect(facts).to_contain_text("a blue car in the snow")
    page.locator("#history-delete").click()
    page.locator("#history-keep").click()
    expect(page.locator("#history-sure")).to_be_hidden()
    page.locator("#history-delete").click()
    page.locator("#history-sure").click()
    expect(tiles).to_have_count(1)
    expect(page.locator("#history-picture")).to_be_hidden()


def test_another_browser_sees_nothing(visit: Visit):
    draw(visit(locale="en-US"), "a mug in a room", seed=3)
    stranger = visit(locale="en-US")
    open_tab(stranger, "History")
    expect(stranger.locator("#history-empty")).to_be_visible()
    expect(stranger.locator("#history-gallery")).to_be_hidden()


@pytest.mark.parametrize("path", SERVED_PATHS)
def test_the_history_itself_cannot_be_fetched(url: str, path: str):
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{url}gradio_api/file={path}", timeout=30)
    refused.value.close()
    assert refused.value.code in (403, 404)


def test_a_phone_reads_the_history_in_chinese_without_sideways_scrolling(visit: Visit):
    page = visit(locale="zh-CN", viewport=PHONE)
    page.locator("#surprise").click()
    generate(page)
    expect(page.locator("#phase")).to_have_text("完成")
    open_tab(page, "历史")
    page.locator("#history-gallery button.thumbnail-item").first.click()
    expect(page.locator("#history-facts")).to_contain_text("种子")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
