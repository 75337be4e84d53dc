from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.errors import ModelUnavailable
from studio.lineage import FACTS, read_facts, require_base, weights_sha256


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "unet"
    folder.mkdir()
    for shard in ("a.safetensors", "b.safetensors"):
        (folder / shard).write_bytes(shard.encode())
    return folder


@pytest.fixture
def artefact(tmp_path: Path, base: Path) -> Path:
    folder = tmp_path / "controlnet-depth"
    folder.mkdir()
    (folder / FACTS).write_text(json.dumps({"builds_on": {"unet": weights_sha256(base)}}), encoding="utf-8")
    return folder


def test_an_artefact_stands_on_the_base_that_it_was_built_on(artefact: Path, base: Path):
    require_base(artefact, "unet", base)


@pytest.mark.parametrize("change", ["content", "shard", "name"])
def test_an_artefact_of_another_base_is_refused_by_name(artefact: Path, base: Path, change: str):
    match change:
        case "content":
            (base / "a.safetensors").write_bytes(b"other")
        case "shard":
            (base / "b.safetensors").unlink()
        case "name":
            (base / "b.safetensors").rename(base / "c.safetensors")
    with pytest.raises(ModelUnavailable) as refused:
        require_base(artefact, "unet", base)
    assert (refused.value.key, refused.value.values["model"]) == ("other_base", "controlnet-depth")
    assert "controlnet-depth" in refused.value.message("en") and "unet" in refused.value.message("zh")


def test_a_base_that_was_not_recorded_is_another_one(artefact: Path, base: Path):
    with pytest.raises(ModelUnavailable, match="controlnet-depth"):
        require_base(artefact, "eye", base)


def test_what_does_not_weigh_does_not_count(artefact: Path, base: Path):
    (base / "README.md").write_text("a card", encoding="utf-8")
    require_base(artefact, "unet", base)


def test_missing_facts_are_told_with_the_key_that_was_given(tmp_path: Path):
    with pytest.raises(ModelUnavailable) as refused:
        read_facts(tmp_path, "no_heads")
    assert refused.value.key == "no_heads"
