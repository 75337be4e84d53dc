from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from studio.catalog.little_world import LITTLE_WORLD
from studio.catalog.sd15 import LATENT_RGB, SD15
from studio.engine.loaders import FolderLoader, folder_sha256, read_parts, storage_bytes
from studio.errors import ModelUnavailable
from studio.types import ModelSpec, PipelineKey, Source

KEY = PipelineKey("little-world")
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(models_root: Path, tmp_path: Path) -> Path:
    """A little world that a test may harm."""
    shutil.copytree(models_root / "little-world", tmp_path / "little-world")
    return tmp_path / "little-world"


def spec_of(*sources: Source, base: ModelSpec = LITTLE_WORLD) -> ModelSpec:
    return replace(base, sources=sources)


def local(name: str = "little-world") -> Source:
    return Source("local", name)


def load_copy(copy: Path, key: PipelineKey = KEY) -> object:
    return FolderLoader(copy.parent, offline=True)(spec_of(local()), key)


def refusal(copy: Path) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as caught:
        load_copy(copy)
    return caught.value


def test_all_parts_come_in_the_dtype_of_the_key(load: FolderLoader) -> None:
    components = load(spec_of(local()), replace(KEY, dtype="bfloat16")).components
    modules = [part for part in components.values() if isinstance(part, torch.nn.Module)]
    assert {parameter.dtype for module in modules for parameter in module.parameters()} == {torch.bfloat16}
    assert len(modules) == 3


def test_half_precision_files_load_as_float32_throughout(copy: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(copy, dtype=torch.float16, safety_checker=None)
    pipeline.save_pretrained(copy)
    components = FolderLoader(copy.parent)(spec_of(local()), KEY).components
    assert components["text_encoder"].dtype == components["unet"].dtype == torch.float32


def test_the_parts_are_frozen_and_in_eval_mode(load: FolderLoader) -> None:
    components = load(spec_of(local()), KEY).components
    modules = [part for part in components.values() if isinstance(part, torch.nn.Module)]
    assert not any(parameter.requires_grad for module in modules for parameter in module.parameters())
    assert not any(module.training for module in modules)


def test_bytes_are_those_of_the_weights(load: FolderLoader) -> None:
    components = load(spec_of(local()), KEY)
    modules = [part for part in components.components.values() if isinstance(part, torch.nn.Module)]
    parameters_bytes = sum(4 * parameter.numel() for module in modules for parameter in module.parameters())
    assert parameters_bytes <= components.bytes <= parameters_bytes + 4_096  # position ids are buffers


def test_shared_storage_counts_once() -> None:
    first, second = torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 8, bias=False)
    assert storage_bytes([first, second]) == 2 * 8 * 8 * 4
    second.weight = first.weight
    assert storage_bytes([first, second]) == 8 * 8 * 4


def test_the_hash_follows_the_weights_and_not_the_remarks(copy: Path) -> None:
    parts = read_parts(copy, "x")
    before = folder_sha256(copy, parts)
    (copy / "README.md").write_text("a card")
    (copy / "unet" / "metrics.json").write_text("{}")
    assert folder_sha256(copy, parts) == before
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert folder_sha256(copy, parts) != before


def test_latent_colours_come_from_the_folder(load: FolderLoader, models_root: Path) -> None:
    fitted = json.loads((models_root / "little-world" / "vae" / "latent_rgb.json").read_text())
    latent_rgb = load(spec_of(local()), KEY).latent_rgb
    assert latent_rgb is not None
    torch.testing.assert_close(latent_rgb, torch.tensor([*fitted["weight"], fitted["bias"]]))


def test_latent_colours_of_sd_come_from_its_specification(load: FolderLoader) -> None:
    latent_rgb = load(spec_of(local("sd15"), base=SD15), KEY).latent_rgb
    assert latent_rgb is not None
    torch.testing.assert_close(latent_rgb, torch.tensor(LATENT_RGB))


def test_without_either_there_are_no_latent_colours(load: FolderLoader) -> None:
    assert load(spec_of(local("sd15")), KEY).latent_rgb is None


def test_latent_colours_of_another_shape_are_refused(copy: Path) -> None:
    (copy / "vae" / "latent_rgb.json").write_text(json.dumps({"weight": [[1, 0, 0]], "bias": [0, 0, 0]}))
    assert refusal(copy).key == "model_inconsistent"


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
    assert refusal(copy).values["missing"] == "unet/*.safetensors"


def test_a_folder_that_wants_code_of_its_own_is_refused(copy: Path) -> None:
    index = copy / "model_index.json"
    listed = json.loads(index.read_text())
    index.write_text(json.dumps({**listed, "unet": ["my_unet", "MyUNet"]}))
    assert refusal(copy).key == "model_refused"


def test_the_next_source_is_tried_when_the_first_is_not_there(load: FolderLoader) -> None:
    components = load(spec_of(local("elsewhere"), local()), KEY)
    assert components.source == local()


def test_a_hub_that_is_not_supported_is_named(load: FolderLoader) -> None:
    with pytest.raises(ModelUnavailable, match="modelscope"):
        load(spec_of(Source("modelscope", "some/repo")), KEY)


def test_a_repository_that_is_not_cached_is_named_when_offline(tmp_path: Path) -> None:
    loader = FolderLoader(tmp_path, cache_dir=tmp_path / "hub", offline=True)
    with pytest.raises(ModelUnavailable, match="some/repo") as caught:
        loader(spec_of(Source("huggingface", "some/repo")), KEY)
    assert caught.value.key == "not_downloaded"


def test_a_cached_repository_loads_offline_through_the_same_path(models_root: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--some--repo"
    shutil.copytree(models_root / "sd15", repository / "snapshots" / REVISION)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    loader = FolderLoader(tmp_path, cache_dir=tmp_path / "hub", offline=True)
    components = loader(spec_of(Source("huggingface", "some/repo"), base=SD15), KEY)
    assert components.source.revision == REVISION
    assert components.bytes > 0


def test_a_half_downloaded_repository_names_the_missing_part(models_root: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--some--repo"
    snapshot = repository / "snapshots" / REVISION
    shutil.copytree(models_root / "sd15", snapshot)
    shutil.rmtree(snapshot / "unet")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    loader = FolderLoader(tmp_path, cache_dir=tmp_path / "hub", offline=True)
    with pytest.raises(ModelUnavailable, match="unet"):
        loader(spec_of(Source("huggingface", "some/repo"), base=SD15), KEY)


def test_stock_diffusers_opens_the_same_folder(models_root: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(models_root / "little-world")
    ids = pipeline.tokenizer("a 猫狗 ☂ house").input_ids
    assert ids.count(pipeline.tokenizer.eos_token_id) == 1
    assert ids[-1] == pipeline.tokenizer.eos_token_id
