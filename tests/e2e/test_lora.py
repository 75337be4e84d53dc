"""A person brings a LoRA through the gate, reads the truth about it, draws with it, and a broken file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from studio.catalog import specs
from studio.engine.infotext import read
from studio.engine.loaders import FolderLoader
from studio.engine.lora_base import base_weights
from studio.types import Source
from tests.e2e.conftest import Visit
from tests.e2e.test_img2img import draw, open_tab, settings
from tests.engine.loras import written

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def tensors(models: Path) -> dict[str, np.ndarray]:
    """Those of a small LoRA of random weights for the studio's own model."""
    from dataclasses import replace

    spec = replace(specs()["little-world"], sources=(Source("local", "little-world"),))
    modules = base_weights(spec, FolderLoader(models).look).modules["unet"]
    rng = np.random.default_rng(0)
    tensors = {}
    for name, weight in modules.items():
        if name.endswith(("to_q", "to_v")):
            tensors[f"unet.{name}.lora_A.weight"] = rng.normal(0, 0.1, (4, weight[1])).astype(np.float16)
            tensors[f"unet.{name}.lora_B.weight"] = rng.normal(0, 0.2, (weight[0], 4)).astype(np.float16)
    return tensors


@pytest.fixture(scope="module")
def file(tensors: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file."""
    return written(tmp_path_factory.mktemp("lora") / "brought.safetensors", tensors, {"trigger": "<b>Brought</b>"})


def bring(page: Page, file: Path) -> None:
    page.locator("#lora-upload input[type=file]").set_input_files(file)


def test_a_lora_is_brought_looked_at_and_drawn_with(visit: Visit, file: Path, tmp_path: Path):
    page = visit(locale="en-US")
    open_tab(page, "LoRA")
    bring(page, file)
    expect(page.locator("#lora-gate")).to_contain_text("brought has passed")
    expect(page.locator("#lora-truth")).to_contain_text("diffusers (peft)")
    expect(page.locator("#lora-truth")).to_contain_text("tensors matched")
    page.locator("#lora-prompt textarea").fill("a red house")
    page.locator("#lora-triggers button").click()
    expect(page.locator("#lora-prompt textarea")).to_have_value("a red house, <b>Brought</b>")
    page.locator("#lora-1-name input").click()
    page.get_by_role("option", name="brought", exact=True).click()
    middle = page.locator("#lora-1-finer-mid_block")
    page.locator("#lora-1-finer summary").click()
    middle.focus()
    middle.press("Home")
    middle.press("ArrowRight")
    expect(page.locator("#lora-1-finer summary")).to_have_text("Finer: rank and blocks · 1")
    settings(page, 2)
    draw(page, "lora")
    expect(page.locator("#lora-followed")).to_contain_text("With brought (1)")
    page.locator("#lora-picture-1").hover()
    with page.expect_download() as waited:
        page.locator("#lora-picture-1").get_by_role("button", name="Download").click()
    waited.value.save_as(tmp_path / "picture.png")
    told = read((tmp_path / "picture.png").read_bytes(), ["little-world"])
    tagged = "a red house, <b>Brought</b> <lora:brought:1:mid_block=0.05>"
    assert told.values["prompt"] == tagged and told.problems == ()
    page.locator("#lora-1-finer").get_by_role("button", name="As usual").click()
    page.locator("#lora-restore input[type=file]").set_input_files(tmp_path / "picture.png")
    expect(middle).to_have_value("0.05")
    expect(page.locator("#lora-prompt textarea")).to_have_value("a red house, <b>Brought</b>")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(file.read_bytes()[:-1])
    bring(page, broken)
    expect(page.locator("#lora-gate")).to_contain_text("longer or shorter than its header says")
    expect(page.locator("#lora-shelf")).not_to_contain_text("broken")
    open_tab(page, "Text to image")
    page.locator("#text2img-prompt textarea").fill("a red house <lora:nobody:0.5>")
    page.locator("#generate").click()
    expect(page.get_by_text("there is no LoRA called nobody")).to_be_visible()


def test_a_press_sets_what_a_lora_is_made_for(visit: Visit, tensors: dict[str, np.ndarray], tmp_path: Path):
    page = visit(locale="en-US")
    open_tab(page, "LoRA")
    usage = page.locator("#lora-usage")
    bring(page, written(tmp_path / "plain.safetensors", tensors, {}))
    expect(page.locator("#lora-gate")).to_contain_text("plain has passed")
    expect(usage).to_be_hidden()
    asked = {"inference_sampler": "euler", "inference_steps": "3", "inference_guidance": "1.5"}
    bring(page, written(tmp_path / "hasty.safetensors", tensors, asked))
    expect(usage).to_have_text("Set what it is made for: Euler, 3 steps, guidance 1.5")
    usage.click()
    expect(page.locator("#lora-1-name input")).to_have_value("hasty")
    expect(page.get_by_role("spinbutton", name="Steps").locator("visible=true")).to_have_value("3")
    expect(page.get_by_role("spinbutton", name="Guidance").locator("visible=true")).to_have_value("1.5")
    page.locator("#lora-prompt textarea").fill("a red house")
    draw(page, "lora")
    expect(page.locator("#lora-followed")).to_contain_text("With hasty (1)")


@pytest.mark.timeout(300)
def test_one_is_trained_on_the_page_and_stopping_keeps_it(visit: Visit):
    page = visit(locale="en-US")
    open_tab(page, "LoRA")
    page.locator("#lora-teach button").first.click()
    start, found = page.locator("#lora-teach-start"), page.locator("#lora-teach-found")
    page.locator("#lora-teach-trigger").locator("input, textarea").fill("zorbi")
    start.click()
    expect(found).to_contain_text("3 to 40 pictures are needed; there are 0.")
    page.locator("#lora-teach-source input").click()
    page.get_by_role("option", name="blueprint").click()
    expect(page.locator("#lora-teach-files")).to_be_hidden()
    start.click()
    expect(found.locator("svg").first).to_be_visible()  # it learns
    page.locator("#lora-teach-stop").click()
    expect(found).to_contain_text("zorbi lies on your shelf and is chosen.")
    expect(page.locator("#lora-1-name input")).to_have_value("zorbi")
    expect(page.locator("#lora-triggers button")).to_have_text("zorbi")
