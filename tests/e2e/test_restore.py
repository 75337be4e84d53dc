"""A picture leaves the studio with its settings, and brings them back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, expect

from studio.engine.images import png_bytes
from studio.engine.infotext import read
from studio.types import MAX_SEED
from tests.e2e.conftest import Visit
from tests.e2e.test_api import GOOD

pytestmark = pytest.mark.e2e

PROMPT, NEGATIVE = "雪地里的房子, a “house”", "blurry"
SLIDERS = {"Steps": "3", "Width": "64", "Height": "96", "Guidance": "4.3"}


def number(page: Page, label: str) -> Any:
    return page.get_by_role("spinbutton", name=re.compile(label))


def fill(page: Page, label: str, value: str) -> None:
    number(page, label).fill(value)
    number(page, label).press("Tab")


def texts(page: Page) -> list[Any]:
    return [page.locator(f"#text2img-{name} textarea") for name in ("prompt", "negative_prompt")]


def drop(page: Page, path: Path) -> None:
    page.locator("#restore input[type=file]").set_input_files(path)


def download(page: Page, path: Path) -> Path:
    """What the button at the picture saves."""
    page.locator("#picture-1").hover()
    with page.expect_download() as waited:
        page.locator("#picture-1").get_by_role("button", name="Download").click()
    waited.value.save_as(path)
    return path


def draw(page: Page) -> None:
    """Fill every field and draw."""
    for box, text in zip(texts(page), (PROMPT, NEGATIVE), strict=True):
        box.fill(text)
    for label, value in {**SLIDERS, "Seed": "11"}.items():
        fill(page, label, value)
    page.get_by_label("Keep").check()
    page.get_by_label("Sampler").click()
    page.get_by_role("option", name="UniPC").click()
    page.locator("#generate").click()
    expect(page.locator("#phase")).to_have_text("Done")


def test_every_opened_page_throws_seeds_of_its_own(visit: Visit):
    seeds = set()
    for _ in range(2):
        page = visit(locale="en-US")
        expect(number(page, "Seed")).not_to_have_value("0")
        seeds.add(number(page, "Seed").input_value())
    assert len(seeds) == 2 and all(0 < int(seed) < MAX_SEED for seed in seeds)


def test_a_downloaded_picture_brings_every_field_back(visit: Visit, tmp_path: Path):
    page = visit(locale="en-US")
    draw(page)
    path = download(page, tmp_path / "picture.png")
    assert read(path.read_bytes(), ("little-world",)).problems == ()

    fresh = visit(locale="en-US")
    drop(fresh, path)
    expect(fresh.locator("#restored")).to_contain_text("All settings are restored.")
    for box, text in zip(texts(fresh), (PROMPT, NEGATIVE), strict=True):
        expect(box).to_have_value(text)
    for label, value in {**SLIDERS, "Seed": "11"}.items():
        expect(number(fresh, label)).to_have_value(value)
    expect(fresh.get_by_label("Sampler")).to_have_value("UniPC")
    expect(fresh.get_by_label("Keep")).to_be_checked()

    fresh.locator("#generate").click()
    expect(fresh.locator("#phase")).to_have_text("Done")
    again = download(fresh, tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()


def test_a_file_that_is_no_picture_changes_nothing_and_the_next_one_works(visit: Visit, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    chunks = PngInfo()
    chunks.add_text("parameters", "a <b>castle</b>\nSteps: 5, Sampler: <b>x</b>, CFG scale: 6, Seed: 42, Size: 64x64")
    (tmp_path / "other.png").write_bytes(png_bytes(Image.new("RGB", (8, 8)), chunks))
    page = visit(locale="en-US")
    texts(page)[0].fill("mine")
    drop(page, tmp_path / "broken.png")
    expect(page.locator("#restored")).to_contain_text("cannot be read as a picture")
    expect(texts(page)[0]).to_have_value("mine")

    drop(page, tmp_path / "other.png")
    expect(page.locator("#restored")).to_contain_text("Restored: Prompt,")
    expect(page.locator("#restored")).to_contain_text("<b>x</b>")
    expect(number(page, "Seed")).to_have_value("42")


def test_the_picture_of_a_program_says_how_it_was_drawn(url: str):
    client = Client(url, verbose=False)
    path, answer = client.predict(**GOOD, api_name="/text2img")
    client.close()
    restored = read(Path(path).read_bytes(), ("little-world",))
    assert (restored.values["seed"], restored.values["prompt"]) == (GOOD["seed"], GOOD["prompt"])
    assert restored.model_sha256 == answer["model_sha256"]
