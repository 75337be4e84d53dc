"""A person brings a picture: it is drawn from, painted over, and refused where it cannot be read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from studio.engine.infotext import read
from tests.e2e.conftest import Visit, open_tab
from tests.e2e.pictures import files, pixels
from tests.e2e.test_page import PHONE
from tests.e2e.test_restore import download as download_from

__all__ = ["files"]
pytestmark = pytest.mark.e2e


def fill(page: Page, box: Locator, value: object) -> None:
    box.fill(str(value))
    box.press("Tab")


def settings(page: Page, steps: int = 4, name: str = "Steps") -> None:
    """Few steps, for a test that has little time."""
    fill(page, page.get_by_role("spinbutton", name=re.compile(name)).locator("visible=true"), steps)


def draw(page: Page, tab: str, done: str = "Done") -> None:
    page.locator(f"#{tab}-generate").click()
    expect(page.locator(f"#{tab}-phase")).to_have_text(done)


def drag(page: Page, canvas: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A stroke with the mouse, from and to shares of the canvas."""
    expect(canvas).to_be_visible()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def test_a_rendered_scene_is_drawn_anew_and_sent_on(visit: Visit):
    page = visit(locale="en-US")
    open_tab(page, "Image to image")
    expect(page.locator("#img2img-entry")).to_contain_text("12 of 20 steps are run, from t = 599 of 999")
    page.locator("#img2img-scene").click()
    expect(page.locator("#img2img-source img")).to_be_visible()
    expect(page.locator("#img2img-prompt textarea")).not_to_have_value("")
    expect(page.locator("#img2img-source-facts")).to_contain_text("taken pixel by pixel")
    settings(page)
    expect(page.locator("#img2img-entry")).to_contain_text("2 of 4 steps are run")
    expect(page.locator("#img2img-entry svg").first).to_be_visible()
    draw(page, "img2img")
    expect(page.locator("#img2img-picture-1 img")).to_be_visible()

    prompt = page.locator("#img2img-prompt textarea").input_value()
    page.locator("#img2img-picture-1-paint").click()
    expect(page.locator("#inpaint-source img")).to_be_visible()
    expect(page.locator("#inpaint-prompt textarea")).to_have_value(prompt)


def test_a_picture_of_the_history_is_drawn_from_and_its_settings_come_back(visit: Visit):
    page = visit(locale="en-US")
    page.locator("#text2img-prompt textarea").fill("a blue car in the snow")
    settings(page, 2)
    page.locator("#generate").click()
    expect(page.locator("#phase")).to_have_text("Done")
    open_tab(page, "Image to image")
    page.locator("#img2img-from-history").click()
    page.locator("#history-gallery button.thumbnail-item").first.click()
    page.locator("#history-source").click()
    expect(page.locator("#img2img-source img")).to_be_visible()
    expect(page.locator("#img2img-prompt textarea")).to_have_value("a blue car in the snow")
    fill(page, page.locator("#img2img-strength input[type=number]"), 0.75)
    settings(page)
    draw(page, "img2img")

    open_tab(page, "History")
    page.locator("#history-gallery button.thumbnail-item").first.click()
    expect(page.locator("#history-facts")).to_contain_text("0.75")
    expect(page.locator("#history-send")).to_have_text("Send to image to image")
    fill_back = page.locator("#img2img-strength input[type=number]")
    page.locator("#history-send").click()
    expect(page.locator("#img2img-restored")).to_contain_text("the picture whose fingerprint begins with")
    expect(fill_back).to_have_value("0.75")


@pytest.mark.timeout(240)
def test_a_mask_is_painted_with_the_mouse_and_nothing_else_changes(
    visit: Visit, files: dict[str, Path], tmp_path: Path
):
    page = visit(locale="en-US")
    open_tab(page, "Inpaint")
    page.locator("#inpaint-generate").click()
    expect(page.get_by_text("Picture is missing: this needs a picture.")).to_be_visible()

    page.locator("#inpaint-source input[type=file]").set_input_files(files["picture.png"])
    canvas = page.locator("#inpaint-editor canvas")
    drag(page, canvas, (0.1, 0.1), (0.9, 0.1))
    page.locator('#inpaint-editor [data-act="clear"]').click()
    page.locator("#inpaint-generate").click()
    expect(page.get_by_text(re.compile("The mask is empty")).locator("visible=true").first).to_be_visible()

    drag(page, canvas, (0.3, 0.5), (0.7, 0.5))
    page.locator("#inpaint-prompt textarea").fill("a red ball")
    settings(page)
    draw(page, "inpaint")
    page.locator("#inpaint-picture-1").hover()
    with page.expect_download() as waited:
        page.locator("#inpaint-picture-1").get_by_role("button", name="Download").click()
    waited.value.save_as(tmp_path / "picture.png")
    old, new = pixels(files["picture.png"]), pixels(tmp_path / "picture.png")
    changed = (old != new).any(axis=-1)
    ys, xs = np.nonzero(changed)
    assert changed[60:68, 48:80].all(), "the stroke is drawn anew"
    assert ys.min() > 35 and ys.max() < 93 and xs.min() > 15 and xs.max() < 113, "and nothing far from it"


def test_the_lights_are_tried_on_the_picture_that_is_there(visit: Visit):
    page = visit(locale="zh-CN")
    open_tab(page, "以图生图")
    page.locator("#img2img-scene").click()
    expect(page.locator("#img2img-source img")).to_be_visible()
    page.locator("#img2img-lights button").first.click()
    page.locator("#img2img-check").click()
    lights = page.locator("#img2img-found li")
    expect(lights).to_have_count(3)
    expect(lights.nth(2)).to_contain_text("√ᾱ")
    expect(page.locator("#img2img-found svg").first).to_be_visible()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("text.png", "Picture: this file cannot be read as a picture"),
        ("cut.png", "Picture: this file is damaged or cut off"),
        ("huge.png", "Picture: a picture may have at most 50 million pixels"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_the_next_one_works(
    visit: Visit, files: dict[str, Path], name: str, sentence: str
):
    page = visit(locale="en-US")
    open_tab(page, "Image to image")
    upload = page.locator("#img2img-source input[type=file]")
    upload.set_input_files(files[name])
    expect(page.locator("#img2img-refused")).to_contain_text(sentence)
    page.locator("#img2img-scene").click()
    expect(page.locator("#img2img-source-facts")).to_contain_text("taken pixel by pixel")
    expect(page.locator("#img2img-refused")).to_be_hidden()


def test_a_picture_comes_back_larger_or_it_is_told_what_is_missing(visit: Visit, models: Path, tmp_path: Path):
    page = visit(locale="en-US")
    page.locator("#text2img-prompt textarea").fill("a cat in a room")
    settings(page, 2)
    page.locator("#generate").click()
    expect(page.locator("#phase")).to_have_text("Done")
    page.locator("#picture-1-larger").click()
    if not (models / "upscale" / "super_resolver.safetensors").is_file():
        expect(page.get_by_text("The super-resolver is missing.")).to_be_visible()
        return
    page.wait_for_function("document.querySelector('#picture-1 img').naturalWidth === 256")
    path = download_from(page, tmp_path / "larger.png")
    assert pixels(path).shape == (256, 256, 3)
    assert "picture_upscaled" in [problem.key for problem in read(path.read_bytes(), ("little-world",)).problems]


def test_a_phone_draws_from_a_picture_without_sideways_scrolling(visit: Visit):
    page = visit(locale="zh-CN", viewport=PHONE, color_scheme="dark")
    open_tab(page, "以图生图")
    page.locator("#img2img-scene").click()
    expect(page.locator("#img2img-source img")).to_be_visible()
    settings(page, name="步数")
    draw(page, "img2img", "完成")
    expect(page.locator("#img2img-picture-1 img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#img2img-picture-1-paint").click()
    expect(page.locator("#inpaint-editor canvas").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
