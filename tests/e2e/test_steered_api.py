"""Programs that steer: by a map, by a reference, by a LoRA; and the base that is what it was before and after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from studio.world.concepts import trigger_of
from tests.e2e.conftest import free_port, running_studio
from tests.e2e.pictures import files
from tests.e2e.test_api import GOOD
from tests.e2e.test_ip_adapter import ADAPTER, untrained
from tests.tiny_adapters import make_controlnet, make_lora

__all__ = ["files"]
pytestmark = pytest.mark.e2e

CONTROLNET, LORA = "controlnet-canny", "momo"
DOSE: dict[str, Any] = {"scale": 1.0, "start": 0.0, "end": 1.0}


@pytest.fixture(scope="module")
def url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio with a ControlNet, an IP-Adapter and a LoRA: the studio's own, random ones where none were trained."""
    folder = tmp_path_factory.mktemp("models")
    for own in models.iterdir():
        if own.name != "little-world":
            (folder / own.name).symlink_to(own)
    base = folder / "little-world"
    base.mkdir()
    for part in (models / "little-world").iterdir():
        (base / part.name).symlink_to(part)
    if not (base / CONTROLNET).exists():
        make_controlnet(base).save_pretrained(base / CONTROLNET)
    if not (base / "loras").exists():
        (base / "loras").mkdir()
        make_lora(base / "loras" / f"{LORA}.safetensors", base)
    if not (folder / ADAPTER).exists():
        untrained(folder)
    with running_studio(folder, tmp_path_factory.mktemp("studio"), free_port()) as (address, _):
        yield address


@pytest.fixture(scope="module")
def steered(client: Client, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each endpoint is asked beside the prompt and the settings, by its name."""
    edges = Image.new("RGB", (64, 64))
    edges.paste("white", (20, 30, 44, 32))
    edges.save(map_file := tmp_path_factory.mktemp("maps") / "edges.png")
    references = [handle_file(files["picture.png"])]
    return {
        "/controlnet": {"image": handle_file(map_file), "kind": "canny", "preprocessor": "own", **DOSE},
        "/ip_adapter": {"references": references, "weights": None, "mask": None, "where": "all", **DOSE},
        "/lora": {"loras": {LORA: 1.0}},
    }


def drawn(client: Client, endpoint: str, **values: Any) -> tuple[bytes, dict[str, Any]]:
    """The file of a picture as it came, and what was told of it."""
    path, answer = client.predict(**{**GOOD, **values}, api_name=endpoint)
    assert answer["phase"] == "done"
    return Path(path).read_bytes(), answer


def pixels(file: bytes, tmp_path: Path) -> np.ndarray:
    (path := tmp_path / "picture.png").write_bytes(file)
    with Image.open(path) as picture:
        assert (picture.size, picture.mode) == ((64, 64), "RGB")
        return np.asarray(picture)


@pytest.mark.parametrize("endpoint", ["/controlnet", "/ip_adapter", "/lora"])
def test_a_program_steers_and_the_base_is_byte_by_byte_what_it_was(
    client: Client, steered: dict[str, Any], endpoint: str, tmp_path: Path
):
    base, _ = drawn(client, "/text2img")
    one, told = drawn(client, endpoint, **steered[endpoint])
    assert (told["seed"], told["model"], told["steps"]) == (3, "little-world", 2)
    assert (pixels(one, tmp_path) != pixels(base, tmp_path)).any(), "it steers"
    again, _ = drawn(client, endpoint, **steered[endpoint])
    assert again == one, "the same seed gives the same file"
    other, told = drawn(client, endpoint, **steered[endpoint], seed=4)
    assert told["seed"] == 4 and (pixels(other, tmp_path) != pixels(one, tmp_path)).any()
    assert drawn(client, "/text2img")[0] == base


def test_a_map_without_strength_gives_the_base(client: Client, steered: dict[str, Any], tmp_path: Path):
    base, _ = drawn(client, "/text2img")
    unsteered, _ = drawn(client, "/controlnet", **{**steered["/controlnet"], "scale": 0.0})
    assert (pixels(unsteered, tmp_path) == pixels(base, tmp_path)).all()


def test_a_lora_can_stand_in_the_prompt(client: Client):
    prompt = f"{GOOD['prompt']}, {trigger_of(LORA)}"
    by_name, told = drawn(client, "/lora", loras={LORA: 0.5}, prompt=prompt)
    assert drawn(client, "/lora", loras=None, prompt=f"{prompt} <lora:{LORA}:0.5>")[0] == by_name
    assert told["seed"] == 3


@pytest.mark.parametrize(
    ("endpoint", "changed", "sentence"),
    [
        ("/controlnet", {"kind": "sketch"}, "must be one of"),
        ("/controlnet", {"scale": 2.5}, "2"),
        ("/controlnet", {"image": None}, "needs a picture"),
        ("/ip_adapter", {"references": []}, "needs a picture"),
        ("/ip_adapter", {"where": "roof"}, "must be one of"),
        ("/lora", {"loras": {"nobody": 1.0}}, "no LoRA called nobody"),
        ("/lora", {"loras": {LORA: 3.0}}, "from 0 to 2"),
    ],
)
def test_bad_input_is_refused_and_the_next_request_works(
    client: Client, steered: dict[str, Any], endpoint: str, changed: dict[str, Any], sentence: str
):
    with pytest.raises(AppError, match=sentence):
        drawn(client, endpoint, **{**steered[endpoint], **changed})
    assert drawn(client, endpoint, **steered[endpoint])[1]["seed"] == 3
