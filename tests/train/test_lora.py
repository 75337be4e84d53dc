from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors import safe_open

from studio.errors import ModelUnavailable, StudioError
from studio.lineage import file_sha256, require_built_on
from studio.train import lora, places
from studio.train.lora import PRESETS, STRATA, subject_of
from studio.train.run import Options, Run
from tests.tiny import make_little_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base with random weights, a LoRA of a concept and one of a folder; runs lie beside it."""
    world = make_little_world(tmp_path_factory.mktemp("taught"))
    pictures = world.parent / "pictures-of-a-mug"
    pictures.mkdir()
    Image.new("RGB", (90, 40), "blue").save(pictures / "a.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", world.parent / "runs-of-loras")
        lora.main(Options("smoke", out=world, concept="rocket"))
        lora.main(Options("smoke", out=world, images=pictures, trigger="my mug", file_format="kohya"))
        yield world


def drawn(pipeline: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return pipeline("my mug", num_inference_steps=2, generator=generator, output_type="np").images[0]


def facts(world: Path, name: str) -> dict[str, Any]:
    return json.loads((world / "loras" / f"{name}.json").read_text(encoding="utf-8"))


def test_a_concepts_lora_says_where_it_belongs(world: Path):
    path, told = world / "loras" / "rocket.safetensors", facts(world, "rocket")
    assert told["sha256"] == file_sha256(path)
    assert (told["concept"], told["trigger"], told["format"]) == ("rocket", "rocket", "diffusers")
    assert set(told["metrics"]) == {"held_out_mse", "without_lora_mse"}
    require_built_on("rocket", told, "unet", world / "unet")
    with pytest.raises(ModelUnavailable, match="rocket"):
        require_built_on("rocket", told, "text_encoder", world / "vae")
    with safe_open(path, "pt") as opened:
        header = opened.metadata()
    assert (header["base_sha256"], header["resolution"]) == (told["builds_on"]["unet"], "128x128")
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "train lora --concept rocket --preset smoke" in card and "license: apache-2.0" in card


def test_a_folders_lora_claims_neither_data_nor_licence(world: Path):
    told = facts(world, "my_mug")
    assert (told["trigger"], told["data"], told["license"]) == ("my mug", "1 pictures of a folder", None)
    assert "concept" not in told and set(told["metrics"]) == {"pictures_mse", "without_lora_mse"}
    card = (world / "loras" / "my_mug.md").read_text(encoding="utf-8")
    assert "license:" not in card and "studio/world" not in card and "--format kohya" in card


@pytest.mark.parametrize("name", ["rocket", "my_mug"])
def test_stock_diffusers_loads_what_the_command_wrote(world: Path, name: str):
    pipeline = StableDiffusionPipeline.from_pretrained(world, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    before = drawn(pipeline)
    pipeline.load_lora_weights(str(world / "loras"), weight_name=f"{name}.safetensors")
    assert not np.array_equal(drawn(pipeline), before)
    pipeline.unload_lora_weights()
    assert np.array_equal(drawn(pipeline), before)


def test_pictures_of_progress_are_kept(world: Path):
    assert len(list(places.run_folder("lora-rocket", "smoke").glob("samples-*.png"))) == 2


def test_resuming_goes_on_from_the_saved_step(world: Path, monkeypatch: pytest.MonkeyPatch):
    done = PRESETS["smoke"].max_steps
    assert done is not None
    monkeypatch.setitem(lora.PRESETS, "smoke", replace(PRESETS["smoke"], max_steps=done + 2))
    steps: list[int] = []
    monkeypatch.setattr(Run, "log", lambda run, **scalars: steps.append(run.step))
    lora.main(Options("smoke", resume=True, out=world, concept="rocket"))
    assert steps == [done + 1, done + 2]
    assert facts(world, "rocket")["steps"] == done + 2


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"trigger": "sks"},
        {"images": Path()},
        {"images": Path(), "trigger": "sks", "concept": "momo"},
        {"concept": "momo", "trigger": "sks"},
        {"concept": "cat"},
    ],
)
def test_what_shall_be_learnt_has_to_be_said_once(wish: dict[str, Any]):
    with pytest.raises(StudioError) as refused:
        subject_of(Options("smoke", **wish))
    assert refused.value.key == "lora_subject"


def test_a_folder_does_not_take_the_name_of_a_concept():
    with pytest.raises(StudioError, match="rocket"):
        subject_of(Options("smoke", images=Path(), trigger="rocket"))


def test_a_trigger_becomes_the_name_of_a_file():
    assert subject_of(Options("smoke", images=Path(), trigger=" my ../mug! ")).name == "my_mug"
    assert subject_of(Options("smoke", images=Path(), trigger="毛毛虫")).name == "毛毛虫"


def test_weights_to_start_from_are_refused(tmp_path: Path):
    with pytest.raises(StudioError, match="--init-from"):
        lora.main(Options("smoke", concept="momo", init_from=tmp_path))


def test_presets_measure_by_the_strata():
    assert all(preset.held_out % STRATA == 0 for preset in PRESETS.values())
