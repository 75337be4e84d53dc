"""A person compares quantized variants of a model, sorts, looks, plays; a program asks for the same."""

from __future__ import annotations

import csv
from base64 import b64decode
from io import StringIO
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect

from studio.engine.comparison_subjects import FULL
from tests.e2e.conftest import Visit, open_tab

pytestmark = pytest.mark.e2e

NAMES = {FULL: "float32 (PyTorch)", "bf16": "bfloat16 (PyTorch)", "minmax-w8a4": "≈ MinMax W8A4"}


def opened(page: Page, *rows: str) -> Page:
    """The tab with the model on pixels, few steps, and these rows."""
    open_tab(page, "Quantized models")
    page.locator("#quant-model").get_by_text("DDPM on pixels").click()
    expect(page.locator("#quant-kind")).to_be_visible()
    expect(page.locator("#quant-prompt")).to_be_hidden()
    page.get_by_label("Steps").locator("visible=true").first.fill("4")
    page.locator("#quant-rows .remove-all").click()
    box = page.locator("#quant-rows input")
    for row in rows:
        box.fill(NAMES.get(row, row))
        box.press("Enter")
    return page


def compare(page: Page) -> None:
    page.locator("#quant-start").click()


def test_rows_are_compared_sorted_looked_at_and_kept(visit: Visit):
    page = opened(visit(locale="en-US"), *NAMES)
    compare(page)
    lines = page.locator("#quant-found tbody tr")
    expect(lines).to_have_count(3)
    expect(page.locator("#quant-phase")).to_contain_text("Done")
    simulated = lines.filter(has_text="simulated")
    expect(simulated).to_have_count(1)
    expect(simulated).to_contain_text("–")
    page.locator("#quant-found").get_by_role("button", name="PSNR").click()
    expect(lines.first).to_contain_text("MinMax")
    page.locator("#quant-found").get_by_role("button", name="PSNR").click()
    expect(lines.first).to_contain_text("float32")
    page.locator("#quant-found").get_by_role("button", name="Per picture").click()
    expect(lines.last).to_contain_text("MinMax")  # what is not told comes last
    page.locator('#quant-found [data-row="2"]').click()
    expect(page.locator('#quant-found [data-pair="2"]')).to_be_visible()
    expect(page.locator('#quant-found [data-pair="0"]')).to_be_hidden()
    page.locator(".quant-inside summary").click()
    inside = page.locator('#quant-found [data-layers="2"]')
    expect(inside).to_contain_text("Inside MinMax W8A4")
    expect(inside.locator("svg[role=img]")).to_have_count(3)
    link = page.get_by_role("link", name="Table as CSV").get_attribute("href")
    assert link is not None
    told = list(csv.DictReader(StringIO(b64decode(link.partition("base64,")[2]).decode())))
    assert [line["method"] for line in told] == list(NAMES) and told[2]["seconds"] == ""


def test_the_rows_are_there_again_when_the_page_is_opened_anew(visit: Visit):
    page = opened(visit(locale="en-US", forgiven=("AbortError", "Connection errored out")), FULL, "bf16")
    compare(page)
    expect(page.locator("#quant-found tbody tr")).to_have_count(2)
    expect(page.locator("#quant-phase")).to_contain_text("Done")
    page.reload()
    expect(page.locator("#generate")).to_be_enabled()
    open_tab(page, "Quantized models")
    expect(page.locator("#quant-found tbody tr")).to_have_count(2)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((FULL, "minmax-w9a8"), "weight_bits must be a whole number from 2 to 8; it is 9"),
        ((FULL, "bitsandbytes_nf4"), "bitsandbytes"),
        ((FULL,), "2 to 6 ways are compared at once; 1 are chosen"),
    ],
)
def test_what_cannot_be_compared_is_told_and_nothing_is_begun(visit: Visit, rows: tuple[str, ...], told: str):
    page = opened(visit(locale="en-US"), *rows)
    compare(page)
    expect(page.locator(".studio-alert").locator("visible=true")).to_contain_text(told)
    expect(page.locator("#quant-found tbody tr")).to_have_count(0)


def test_the_blind_game_counts_ten_rounds(visit: Visit):
    page = opened(visit(locale="en-US"), FULL, "minmax-w8a4")
    page.locator("#quant-play").click()
    game = page.locator("#quant-game")
    expect(game.locator(".blind-round")).to_have_count(10)
    for number in range(1, 11):
        current = game.locator(".blind-round").locator("visible=true")
        expect(current).to_contain_text(f"Round {number} of 10")
        side = current.get_attribute("data-quantized")
        current.locator(f'[data-side="{side}"]').click()
        expect(game.locator(".blind-score")).to_contain_text(f"{number} right of {number}")
        if number < 10:
            current.locator(".blind-next").click()
    expect(game).to_contain_text("You can tell MinMax W8A4 from full precision")


def ask(client: Client, **changed: Any) -> tuple[str, Any]:
    wish = {"model": "pixel-ddpm", "prompt": "", "kind": "cat", "steps": 3, "seed": 1, "rows": [FULL, "minmax-w8a4"]}
    picture, rows = client.predict(**{**wish, **changed}, api_name="/quant_compare")
    return picture, rows


def test_a_program_gets_the_pictures_and_the_figures(client: Client):
    path, rows = ask(client)
    with Image.open(path) as picture:
        assert picture.width > picture.height
    assert [row["quant_id"] for row in rows] == [FULL, "minmax-w8a4"]
    assert rows[0]["seconds"] > 0 and rows[0]["error"] == 0
    assert rows[1]["seconds"] is None and rows[1]["disk"] is None and rows[1]["error"] > 0


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rows": [FULL, "minmax-w1a8"]}, "2 to 8"),
        ({"rows": FULL}, "rows"),
        ({"model": "sd99"}, "model"),
        ({"steps": 0}, "steps"),
    ],
)
def test_a_programs_wrong_wish_is_refused_with_a_sentence(client: Client, changed: dict[str, Any], told: str):
    with pytest.raises(AppError, match=told):
        ask(client, **changed)
