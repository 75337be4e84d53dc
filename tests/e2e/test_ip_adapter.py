"""A person takes a style from the shelf, and a program gives references, with Stable Diffusion 1.5's shapes too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import expect

from tests.e2e.conftest import Visit, free_port, running_studio
from tests.e2e.pictures import files
from tests.e2e.test_img2img import drag, draw, open_tab, settings
from tests.tiny import make_sd15
from tests.tiny_adapters import make_image_encoder, make_ip_adapter

__all__ = ["files"]
pytestmark = pytest.mark.e2e

TAB = "ip_adapter"
ADAPTER = "little-world-ip-adapter"
GOOD: dict[str, Any] = {
    "weights": None,
    "mask": None,
    "scale": 1.0,
    "start": 0.0,
    "end": 1.0,
    "where": "all",
    "prompt": "a red ball",
    "negative_prompt": "",
    "seed": 3,
    "width": 64,
    "height": 64,
    "steps": 2,
    "guidance": 4.0,
    "sampler": "ddim",
    "model": "sd15",
    "precision": "exact",
}


@pytest.fixture(scope="module")
def url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio with IP-Adapters of random weights: for a tiny Stable Diffusion 1.5, and for the little world where
    none was trained."""
    folder = tmp_path_factory.mktemp("models")
    for own in models.iterdir():
        (folder / own.name).symlink_to(own)
    make_sd15(folder / "sd15")
    adapters = [(folder / "sd15-ip-adapter" / "ip-adapter_sd15.safetensors", "sd15")]
    make_ip_adapter(adapters[0][0], folder / "sd15")
    encoder = make_image_encoder()
    for part in encoder.values():
        part.save_pretrained(folder / "sd15-ip-adapter" / "image_encoder")
    if not (folder / ADAPTER).exists():
        untrained(folder)
    with running_studio(folder, tmp_path_factory.mktemp("studio"), free_port()) as (address, _):
        yield address


def untrained(folder: Path) -> None:
    """Keys and values that are the text's own, and a projection by chance."""
    from transformers import CLIPConfig

    from studio.train.picture_prompt import FILE, PicturePrompt
    from studio.train.unet import load_denoiser

    dims = CLIPConfig.from_pretrained(folder / "little-world-clip").vision_config.projection_dim
    PicturePrompt(load_denoiser(folder / "little-world").unet, dims).save(folder / ADAPTER / FILE)


def test_a_style_is_taken_from_the_shelf_drawn_and_judged(visit: Visit):
    page = visit(locale="en-US")
    open_tab(page, "Style by picture")
    page.locator(f"#{TAB}-generate").click()
    expect(page.get_by_text("Reference 1 is missing: this needs a picture.")).to_be_visible()

    shelf = page.locator(f"#{TAB}-shelf button")
    shelf.nth(1).click()
    expect(page.locator(f"#{TAB}-reference-1 img")).to_be_visible()
    expect(page.locator(f"#{TAB}-reference-2")).to_be_visible()
    page.locator(f"#{TAB}-prompt textarea").fill("a red car in a meadow")
    settings(page, 2)
    page.locator(f"#{TAB}-inside-switch input").check()
    draw(page, TAB)
    expect(page.locator(f"#{TAB}-picture-1 img")).to_be_visible()
    expect(page.locator(f"#{TAB}-followed")).to_contain_text("Style of the reference, watercolour")
    expect(page.locator(f"#{TAB}-followed")).to_contain_text("Without the references")
    expect(page.locator(f"#{TAB}-slider img").first).to_be_visible()
    expect(page.locator(f"#{TAB}-inside").get_by_role("button", name="Reference 1")).to_be_visible()

    page.locator(f"#{TAB}-reference_facts button").first.click()
    page.locator(f"#{TAB}-reference_fact").click()
    expect(page.locator(f"#{TAB}-reference_fact-found li")).to_have_count(3)
    expect(page.locator(f"#{TAB}-reference_fact-found")).not_to_contain_text("✗")

    page.locator(f"#{TAB}-picture-1-refer").click()
    expect(page.locator(f"#{TAB}-reference-2 img")).to_be_visible()
    expect(page.locator(f"#{TAB}-division")).to_be_visible()
    page.get_by_label(re.compile("First left")).check()
    draw(page, TAB)


def test_a_part_is_painted_for_the_first_of_two_references(visit: Visit):
    page = visit(locale="en-US")
    open_tab(page, "Style by picture")
    shelf = page.locator(f"#{TAB}-shelf button")
    for number in (1, 2):
        shelf.nth(number).click()
        expect(page.locator(f"#{TAB}-reference-{number} img")).to_be_visible()
    page.get_by_label("As I paint it").check()
    canvas = page.locator(f"#{TAB}-editor canvas")
    expect(canvas).to_be_visible()
    page.locator(f"#{TAB}-prompt textarea").fill("a red car in a meadow")
    page.locator(f"#{TAB}-compare input").uncheck()
    settings(page, 2)
    page.locator(f"#{TAB}-generate").click()
    refusal = page.get_by_text("Paint over what shall change first").locator("visible=true")
    expect(refusal.first).to_be_visible()
    drag(page, canvas, (0.1, 0.2), (0.4, 0.8))
    draw(page, TAB)  # right after the stroke: it is told with it
    expect(page.locator(f"#{TAB}-picture-1 img")).to_be_visible()


def test_a_program_gives_references_weights_and_a_mask(url: str, files: dict[str, Path], tmp_path: Path):
    client = Client(url, verbose=False)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    mask.save(tmp_path / "mask.png")
    two = [handle_file(files["picture.png"]), handle_file(tmp_path / "mask.png")]

    def drawn(**changed: Any) -> np.ndarray:
        path, answer = client.predict(**{"references": two[:1], **GOOD, **changed}, api_name="/ip_adapter")
        assert answer["phase"] == "done"
        with Image.open(path) as picture:
            return np.asarray(picture)

    try:
        one = drawn()
        assert (drawn() == one).all()
        assert (drawn(scale=0.0) != one).any()
        masked = drawn(references=two, weights=[1.0, 0.5], mask=handle_file(tmp_path / "mask.png"))
        assert (masked != drawn(references=two)).any()
        assert (drawn(model="little-world", where="style") != drawn(model="little-world")).any()
        with pytest.raises(AppError, match="1 to 4"):
            drawn(references=two * 3)
    finally:
        client.close()
