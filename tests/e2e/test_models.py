"""Other models than the studio's own: chosen, downloaded and drawn with on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from studio.catalog.sd15 import SD15
from tests.e2e.conftest import PATIENCE_MS, Visit, free_port, running_studio, strict_page
from tests.e2e.test_page import PHONE, generate, set_steps, write
from tests.hub import COMMIT, FakeHub, served
from tests.tiny import make_little_world, make_sd15, make_sdxl

pytestmark = pytest.mark.e2e

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    """A hub on this machine that holds a tiny Stable Diffusion 1.5, and sends half of its UNet until it is let go."""
    with served(make_sd15(tmp_path_factory.mktemp("repository"))) as running:
        running.repo, running.held = SD15.sources[-1].repo, UNET
        yield running


@pytest.fixture(scope="module")
def own_url(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio with a tiny little world and a tiny SDXL Turbo, and that hub."""
    models, folder = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("studio")
    make_little_world(models / "little-world")
    make_sdxl(models / "sdxl-turbo", spacing="trailing")
    variables = {
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(folder / "hub"),
        "STUDIO_RAM_LIMIT_BYTES": "64GB",  # what the real SDXL would need is kept free for the tiny one
    }
    with running_studio(models, folder, free_port(), **variables) as (address, _):
        yield address


@pytest.fixture
def visit(browser: Browser, own_url: str) -> Iterator[Visit]:
    """Open that studio."""
    expect.set_options(timeout=PATIENCE_MS)
    with ExitStack() as stack:

        def open_page(query: str = "", forgiven: tuple[str, ...] = (), **options: object) -> Page:
            page = stack.enter_context(strict_page(browser, own_url, forgiven, **options))
            page.goto(own_url + query)
            expect(page.locator("#generate")).to_be_enabled()
            return page

        yield open_page


def choose(page: Page, name: str) -> None:
    page.locator("#text2img-model input").click()
    page.get_by_role("option", name=name).click()


def value_of(page: Page, label: str) -> Locator:
    return page.get_by_role("spinbutton", name=re.compile(label)).locator("visible=true").first


def test_another_model_brings_its_own_settings_and_draws(visit: Visit):
    page = visit(locale="en-US")
    choose(page, "SDXL Turbo")
    expect(value_of(page, "Width")).to_have_value("512")
    expect(value_of(page, "Steps")).to_have_value("4")
    expect(value_of(page, "Guidance")).to_have_value("0")
    for side in ("Width", "Height"):
        box = value_of(page, side)
        box.fill("64")
        box.press("Tab")
    write(page, "a red house")
    set_steps(page, "Steps", 1)
    generate(page)
    expect(page.locator("#phase")).to_have_text("Done")
    expect(page.locator("#picture-1 img")).to_be_visible()
    choose(page, "Little world")
    expect(value_of(page, "Width")).to_have_value("128")
    expect(value_of(page, "Steps")).to_have_value("20")


def test_a_model_is_downloaded_stopped_gone_on_with_chosen_and_drawn_with(visit: Visit, hub: FakeHub):
    page = visit(locale="en-US")
    page.locator("#open-models").click()
    card = page.locator("#model-sd15")
    expect(card).to_contain_text("not here yet")
    expect(card).to_contain_text("CreativeML Open RAIL-M")
    card.get_by_role("button", name="Download").click()
    expect(card).to_contain_text(UNET)
    expect(card.get_by_role("progressbar")).not_to_have_attribute("aria-valuenow", "0")
    card.get_by_role("button", name="Stop").click()
    hub.hold.set()
    expect(card).to_contain_text("What has come is kept")
    card.get_by_role("button", name="Go on").click()
    expect(card).to_contain_text(COMMIT[:8])
    assert any(start for name, start in hub.requests if name == UNET)
    page.keyboard.press("Escape")
    expect(page.locator("#models")).to_be_hidden()
    choose(page, "Stable Diffusion 1.5")
    expect(value_of(page, "Steps")).to_have_value("25")
    for side in ("Width", "Height"):
        box = value_of(page, side)
        box.fill("64")
        box.press("Tab")
    write(page, "a red house")
    set_steps(page, "Steps", 2)
    generate(page)
    expect(page.locator("#phase")).to_have_text("Done")


def test_the_memory_drawer_tells_what_was_loaded_and_stops_when_closed(visit: Visit):
    page = visit(locale="en-US")
    page.locator("#open-memory").click()
    drawer = page.locator("#memory")
    expect(drawer.get_by_role("row").filter(has_text="little-world")).to_contain_text("ready")
    expect(drawer).to_contain_text("had to load it")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.wait_for_timeout(2500)
    open_asked = len(asked)
    assert open_asked >= 2
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    page.wait_for_timeout(500)
    asked.clear()
    page.wait_for_timeout(2500)
    assert len(asked) < open_asked


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("opener", ["#open-models", "#open-memory"])
def test_a_drawer_fits_a_phone(visit: Visit, locale: str, opener: str):
    page = visit(locale=locale, viewport=PHONE, color_scheme="dark")
    page.locator(opener).click()
    drawer = page.locator(opener.replace("open-", ""))
    expect(drawer).to_be_visible()
    page.wait_for_timeout(600)
    box = drawer.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    ground = page.locator(".studio-drawer:visible").evaluate("one => getComputedStyle(one).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 60
