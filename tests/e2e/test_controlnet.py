"""A person poses a skeleton, draws edges, and sees how far the picture follows."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from studio.world.pose import JOINTS
from tests.e2e.conftest import Visit
from tests.e2e.test_img2img import drag, draw, open_tab, settings
from tests.e2e.test_page import PHONE

pytestmark = pytest.mark.e2e
KEYPOINTS = "JSON.parse(document.querySelector('#controlnet-1-skeleton textarea').value).people[0].pose_keypoints_2d"
RIGHT_WRIST_Y = 3 * JOINTS.index("right_wrist") + 1


def choose(page: Page, unit: int, kind: str) -> None:
    page.locator(f"#controlnet-{unit}-kind").get_by_label(kind, exact=True).check()


@pytest.mark.timeout(240)
def test_a_joint_is_dragged_and_a_picture_follows_or_it_is_told_what_is_missing(visit: Visit, models: Path):
    page = visit(locale="en-US")
    open_tab(page, "ControlNet")
    choose(page, 1, "Pose")
    wrist = page.locator('#controlnet-1-skeleton [data-joint="right_wrist"]')
    before = wrist.get_attribute("aria-label")
    wrist.scroll_into_view_if_needed()
    box = wrist.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 20, box["y"] - 90, steps=4)
    page.mouse.up()
    expect(wrist).not_to_have_attribute("aria-label", str(before))
    wrist.press("Delete")
    expect(wrist).to_have_attribute("aria-label", "Right wrist: hidden")
    wrist.press("Enter")
    wrist.press("ArrowLeft")
    page.get_by_text("Skeleton as JSON").locator("visible=true").first.click()
    text = page.locator("#controlnet-1-skeleton textarea")
    expect(text).to_be_visible()
    page.wait_for_function(f"{KEYPOINTS}[{RIGHT_WRIST_Y}] < 60")  # it stood at 73 of 128
    assert len(page.evaluate(KEYPOINTS)) == 54
    page.wait_for_timeout(1000)  # what keys move is told together, a moment after the last of them
    told, dragged = text.input_value(), wrist.get_attribute("aria-label")
    page.locator('#controlnet-1-skeleton [data-act="reset"]').click()
    expect(wrist).to_have_attribute("aria-label", str(before))
    text.fill('{"people": []}')
    page.locator('#controlnet-1-skeleton [data-act="use"]').click()
    expect(page.locator("#controlnet-1-skeleton [role=status]")).to_contain_text("canvas_width")
    text.fill(told)
    page.locator('#controlnet-1-skeleton [data-act="use"]').click()
    expect(wrist).to_have_attribute("aria-label", str(dragged))

    page.locator("#controlnet-prompt textarea").fill("a person in a meadow")
    settings(page)
    if not (models / "little-world" / "controlnet-pose" / "config.json").is_file():
        page.locator("#controlnet-generate").click()
        expect(page.get_by_role("alert").locator("visible=true").first).to_be_visible()
        return
    draw(page, "controlnet")
    expect(page.locator("#controlnet-picture-1 img")).to_be_visible()
    expect(page.locator("#controlnet-slider")).to_be_visible()
    expect(page.locator("#controlnet-followed")).to_contain_text("Joints in their places")


@pytest.mark.timeout(240)
def test_on_a_phone_edges_are_drawn_without_sideways_scrolling(visit: Visit):
    page = visit(locale="zh-CN", viewport=PHONE, color_scheme="dark")
    open_tab(page, "ControlNet")
    choose(page, 1, "边缘")
    page.locator("#controlnet-1-scene").click()
    expect(page.locator("#controlnet-1-source img")).to_be_visible()
    canvas = page.locator("#controlnet-1-edges canvas")
    expect(canvas).to_have_attribute("width", "128")
    bright = "c => c.getContext('2d').getImageData(0, 0, 128, 128).data.filter((v, i) => i % 4 === 0 && v).length"
    page.wait_for_function(f"({bright})(document.querySelector('#controlnet-1-edges canvas')) > 0")
    drag(page, canvas, (0.1, 0.9), (0.9, 0.9))
    drawn = canvas.evaluate(bright)
    page.locator('#controlnet-1-edges [data-act="undo"]').click()
    assert canvas.evaluate(bright) < drawn
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
