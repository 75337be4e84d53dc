"""A person opens the maths tab: the slider answers, the lights are green, and a file that is no picture is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from studio.checks import CHECKS
from tests.e2e.conftest import Visit, open_tab
from tests.e2e.pictures import files
from tests.e2e.test_img2img import fill
from tests.e2e.test_page import PHONE

__all__ = ["files"]
pytestmark = pytest.mark.e2e
HURRIED = """slider => {
  for (let t = 300; t <= 900; t += 20) {
    slider.value = t;
    slider.dispatchEvent(new Event("input", {bubbles: true}));
  }
}"""

MOVE = """async t => {
  const place = document.querySelector("#forward-live");
  const slider = document.querySelector("#forward-t input[type=range]");
  const begun = performance.now();
  const shown = new Promise((resolve, reject) => {
    const watch = new MutationObserver(() => {
      if (!place.querySelector("img")?.alt.endsWith(`= ${t}`)) return;
      watch.disconnect();
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begun)));
    });
    watch.observe(place, {childList: true, subtree: true, attributes: true});
    setTimeout(reject, 30000, new Error(`no picture at ${t}`));
  });
  slider.value = t;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  return await shown;
}"""
"""Milliseconds from a move of the slider to the frame after the one that paints its picture."""
MOVES, ROUNDS, P95_MS = 20, 6, 200


def open_maths(page: Page, name: str = "Noise & maths") -> None:
    open_tab(page, name)
    expect(page.locator("#forward-live img")).to_be_visible()


def test_the_slider_shows_its_last_place_and_every_light_is_green(visit: Visit, files: dict[str, Path]):
    page = visit(locale="en-US")
    open_maths(page)
    expect(page.locator("#forward-live img")).to_have_attribute("alt", "The picture at t = 250")
    expect(page.locator("#forward-curves svg").first).to_be_visible()
    slider = page.locator("#forward-t input[type=range]")
    slider.evaluate(HURRIED)
    expect(page.locator("#forward-live img")).to_have_attribute("alt", "The picture at t = 900")

    fill(page, page.locator("#forward-length input"), 0)
    expect(page.locator("#forward-refused")).to_contain_text("T must be a whole number from 1 to 4000")
    expect(page.locator("#forward-live img")).to_be_visible()
    fill(page, page.locator("#forward-length input"), 100)
    expect(page.locator("#forward-live img")).to_have_attribute("alt", "The picture at t = 99")
    page.locator("#forward-source input[type=file]").set_input_files(files["text.png"])
    expect(page.locator("#forward-refused")).to_contain_text("image")

    page.locator("#forward-scene").click()
    expect(page.locator("#forward-refused")).to_be_hidden()
    page.locator("#forward-walk").click()
    expect(page.locator("#forward-found")).to_contain_text("100 single steps and the one jump differ by at most")
    open_tab(page, "Lights")
    expect(page.locator("#maths-summary")).to_contain_text("✓")
    expect(page.locator("#maths-summary")).to_contain_text(f"{len(CHECKS)} of {len(CHECKS)} hold")
    expect(page.locator("#maths-lights .katex").first).to_be_visible()


def test_the_slider_follows_the_hand(visit: Visit):
    page = visit(locale="en-US")
    open_maths(page)
    rounds = []
    for start in range(ROUNDS):  # the best of them: other work on the machine is not what is measured
        spent = sorted(page.evaluate(MOVE, 100 + 40 * i + start) for i in range(MOVES))
        rounds.append(spent[-2])  # of 20, the 95th per cent
        if rounds[-1] < P95_MS:
            break
    assert min(rounds) < P95_MS, rounds


def test_of_hurried_moves_only_few_are_asked_and_the_last_is_shown(visit: Visit):
    page = visit(locale="en-US")
    open_maths(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "component_server" in request.url else None)
    page.locator("#forward-t input[type=range]").evaluate(HURRIED)
    expect(page.locator("#forward-live img")).to_have_attribute("alt", "The picture at t = 900")
    assert 1 <= len(asked) <= 3  # of 31


def test_the_way_back_in_latents_leads_from_noise_to_a_picture(visit: Visit):
    page = visit(locale="en-US")
    open_maths(page)
    open_tab(page, "Reverse")
    expect(page.locator("#reverse-kind")).to_be_visible()
    page.get_by_label("The little world's model, in latents").check()
    expect(page.locator("#reverse-kind")).to_be_hidden()
    fill(page, page.locator("#reverse-steps input[type=number]"), 5)
    page.locator("#reverse-start").click()
    expect(page.locator("#reverse-found .maths-finished img")).to_be_visible()
    expect(page.locator("#reverse-found th", has_text="t = 999")).to_be_visible()
    assert page.locator("#reverse-found img").count() == 3 * 5 + 1


def test_the_plane_answers_on_a_phone_in_chinese_without_scrolling_sideways(visit: Visit):
    page = visit(locale="zh-CN", viewport=PHONE)
    open_tab(page, "加噪与数学")
    expect(page.locator("#forward-live img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    open_tab(page, "引导")
    expect(page.locator("#plane-found")).to_contain_text("0.250")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
