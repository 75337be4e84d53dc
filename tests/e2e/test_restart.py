"""The studio dies in the middle of a picture and is started again: its page tells so, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import PATIENCE_MS, free_port, running_studio, strict_page
from tests.e2e.test_page import BROKEN_OFF, generate, make_slow, set_steps, write

pytestmark = pytest.mark.e2e

# While nobody answers, the open page asks in vain.
NOBODY_THERE = (*BROKEN_OFF, "Failed to load resource", "ERR_", "Could not connect", "Failed to fetch", "network error")


def open_studio(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#generate")).to_be_enabled()


def keep_seed(page: Page, seed: int) -> None:
    box = page.get_by_role("spinbutton", name="Seed")
    box.fill(str(seed))
    box.press("Tab")
    page.get_by_label("Keep").check()


def test_a_job_that_a_kill_cut_is_told_and_the_history_is_there(browser: Browser, models: Path, tmp_path: Path):
    expect.set_options(timeout=PATIENCE_MS)
    port = free_port()
    with strict_page(browser, f"http://127.0.0.1:{port}/", NOBODY_THERE, locale="en-US") as page:
        with running_studio(models, tmp_path, port) as (url, process):
            open_studio(page, url)
            write(page, "a house in the snow")
            set_steps(page, "Steps", 2)
            generate(page)
            expect(page.locator("#phase")).to_have_text("Done")
            write(page, "a cat in a meadow")
            make_slow(page)
            keep_seed(page, 77)
            generate(page)
            expect(page.locator("#phase")).to_contain_text("step")
            process.kill()
            process.wait(timeout=20)
            page.goto("about:blank")  # a page that is left open reloads itself when somebody answers again
        with running_studio(models, tmp_path, port) as (url, _):
            open_studio(page, url)
            expect(page.locator("#phase")).to_have_text("Cut short")
            expect(page.get_by_text("“a cat in a meadow”")).to_be_visible()
            expect(page.locator("#text2img-prompt textarea")).to_have_value("a cat in a meadow")
            expect(page.get_by_role("spinbutton", name="Seed")).to_have_value("77")
            expect(page.get_by_role("spinbutton", name="Steps")).to_have_value("100")
            set_steps(page, "Steps", 2)
            generate(page)
            expect(page.locator("#phase")).to_have_text("Done")
            expect(page.get_by_text("seed 77", exact=True)).to_be_visible()
            page.get_by_role("tab", name="History", exact=True).click()
            expect(page.locator("#history-gallery img")).to_have_count(2)
