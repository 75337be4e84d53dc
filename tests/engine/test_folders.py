"""A model's folder is looked through before anything is built of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from studio.engine.folders import file_digests, folder_sha256, look_through
from studio.errors import ModelUnavailable

from .broken import names_read, weights


def refusal(folder: Path) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as caught:
        look_through(folder, "x")
    return caught.value


def hash_of(folder: Path) -> str:
    return folder_sha256(file_digests(look_through(folder, "x")))


def test_the_hash_follows_the_weights_and_not_the_remarks(copy: Path) -> None:
    before = hash_of(copy)
    (copy / "README.md").write_text("a card")
    (copy / "unet" / "metrics.json").write_text("{}")
    assert hash_of(copy) == before
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert hash_of(copy) != before


@pytest.mark.parametrize(
    "missing", ["model_index.json", "unet/config.json", "vae/diffusion_pytorch_model.safetensors", "text_encoder"]
)
def test_what_is_missing_is_named(copy: Path, missing: str) -> None:
    target = copy / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    error = refusal(copy)
    assert error.key == "model_missing"
    assert missing.split("/")[0] in str(error.values["missing"])


def test_a_missing_shard_is_named(copy: Path) -> None:
    index = copy / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "diffusion_pytorch_model-00002-of-00002.safetensors"}}))
    assert "00002-of-00002" in str(refusal(copy).values["missing"])


def test_pickled_weights_are_not_read(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert refusal(copy).values["missing"] == "unet/diffusion_pytorch_model.safetensors"


def test_a_folder_that_wants_code_of_its_own_is_refused(copy: Path) -> None:
    index = copy / "model_index.json"
    listed = json.loads(index.read_text())
    index.write_text(json.dumps({**listed, "unet": ["my_unet", "MyUNet"]}))
    assert refusal(copy).key == "model_refused"


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_end_too_early_are_named(copy: Path, part: str) -> None:
    file = weights(copy, part)
    file.write_bytes(file.read_bytes()[:-10])
    error = refusal(copy)
    assert (error.key, error.values["file"]) == ("model_damaged", f"{part}/{file.name}")


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 64, b"\2\0\0\0\0\0\0\0[]", b"<!DOCTYPE html><html>"])
def test_weights_that_are_none_are_named(copy: Path, content: bytes) -> None:
    file = weights(copy, "unet")
    file.write_bytes(content)
    assert refusal(copy).values["file"] == f"unet/{file.name}"


@pytest.mark.parametrize("name", ["model_index.json", "vae/config.json", "tokenizer/tokenizer.json"])
def test_a_text_that_is_cut_off_is_named(copy: Path, name: str) -> None:
    (copy / name).write_text((copy / name).read_text()[:-5])
    error = refusal(copy)
    assert (error.key, error.values["file"]) == ("model_damaged", name)


def test_of_two_precisions_one_is_read(both_precisions: Path) -> None:
    assert names_read(both_precisions, False) == {"diffusion_pytorch_model.safetensors", "model.safetensors"}
    assert names_read(both_precisions, True) == {"diffusion_pytorch_model.fp16.safetensors", "model.fp16.safetensors"}


@pytest.mark.parametrize("listed", ["[]", '{"weight_map": []}', "{}"])
def test_a_list_of_shards_that_is_none_is_named(copy: Path, listed: str) -> None:
    name = "diffusion_pytorch_model.safetensors.index.json"
    (copy / "unet" / name).write_text(listed)
    assert refusal(copy).values["file"] == f"unet/{name}"
