from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from studio.catalog.little_world import LITTLE_WORLD
from studio.catalog.sd15 import LATENT_RGB, SD15
from studio.engine.hub import CachedRepository, Record
from studio.engine.loaders import ComponentSet, FolderLoader
from studio.engine.memory import storage_bytes
from studio.errors import ModelUnavailable
from studio.types import ModelSpec, PipelineKey, Source

from .broken import names_read, weights

KEY = PipelineKey("little-world")
REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB = Source("huggingface", "some/repo")


def spec_of(*sources: Source, base: ModelSpec = LITTLE_WORLD) -> ModelSpec:
    return replace(base, sources=sources)


def local(name: str = "little-world") -> Source:
    return Source("local", name)


def load_copy(copy: Path, key: PipelineKey = KEY) -> object:
    return FolderLoader(copy.parent)(spec_of(local()), key)


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


def test_the_next_source_is_tried_when_the_first_is_not_there(load: FolderLoader) -> None:
    components = load(spec_of(local("elsewhere"), local()), KEY)
    assert components.source == local()


def test_a_hub_that_is_not_supported_is_named(load: FolderLoader) -> None:
    with pytest.raises(ModelUnavailable, match="modelscope"):
        load(spec_of(Source("modelscope", "some/repo")), KEY)


def test_a_repository_that_is_not_cached_is_named(tmp_path: Path) -> None:
    loader = FolderLoader(tmp_path, cache_dir=tmp_path / "hub")
    with pytest.raises(ModelUnavailable, match="some/repo") as caught:
        loader(spec_of(Source("huggingface", "some/repo")), KEY)
    assert caught.value.key == "not_downloaded"


def test_loading_never_asks_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail("a connection is opened")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.socket.connect", refuse)
    loader = FolderLoader(tmp_path, cache_dir=tmp_path / "hub")
    with pytest.raises(ModelUnavailable) as caught:
        loader(SD15, KEY)
    assert caught.value.key == "not_downloaded"


@pytest.fixture
def repository(models_root: Path, tmp_path: Path) -> CachedRepository:
    """A cache as another program leaves it, with a tiny Stable Diffusion 1.5 as some/repo."""
    repository = CachedRepository(tmp_path / "hub", "some/repo")
    shutil.copytree(models_root / "sd15", repository.snapshot(REVISION))
    (repository.folder / "refs").mkdir()
    (repository.folder / "refs" / "main").write_text(REVISION)
    return repository


def load_cached(repository: CachedRepository, source: Source = HUB) -> ComponentSet:
    return FolderLoader(repository.cache, cache_dir=repository.cache)(spec_of(source, base=SD15), KEY)


def test_a_cached_repository_loads_through_the_same_path(repository: CachedRepository) -> None:
    components = load_cached(repository)
    assert components.source.revision == REVISION
    assert components.bytes > 0


def test_a_commit_is_found_by_its_own_name(repository: CachedRepository) -> None:
    shutil.rmtree(repository.folder / "refs")
    assert load_cached(repository, replace(HUB, revision=REVISION)).source.revision == REVISION


def test_a_half_downloaded_repository_names_the_missing_part(repository: CachedRepository) -> None:
    shutil.rmtree(repository.snapshot(REVISION) / "unet")
    with pytest.raises(ModelUnavailable, match="unet"):
        load_cached(repository)


def test_what_was_downloaded_is_loaded_although_the_branch_has_moved_on(repository: CachedRepository) -> None:
    repository.write_record("sd15", Record("some/repo", "main", REVISION, {}))
    (repository.folder / "refs" / "main").write_text("f" * 40)
    assert load_cached(repository).source.revision == REVISION


def test_a_record_of_another_source_does_not_count(repository: CachedRepository) -> None:
    repository.write_record("sd15", Record("some/repo", "other-branch", "f" * 40, {}))
    assert load_cached(repository).source.revision == REVISION


def test_a_file_that_is_not_what_was_downloaded_is_named(repository: CachedRepository) -> None:
    record = Record("some/repo", "main", REVISION, {"unet/config.json": "0" * 64})
    repository.write_record("sd15", record)
    with pytest.raises(ModelUnavailable) as caught:
        load_cached(repository)
    assert (caught.value.key, caught.value.values["file"]) == ("model_damaged", "unet/config.json")


def test_a_damaged_record_is_named(repository: CachedRepository) -> None:
    (repository.folder / "studio-sd15.json").write_text('{"repo": ')
    with pytest.raises(ModelUnavailable, match=r"studio-sd15\.json"):
        load_cached(repository)


def test_a_single_file_is_not_read_yet(load: FolderLoader) -> None:
    source = Source("huggingface", "some/repo", filename="model.safetensors")
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors") as caught:
        load(spec_of(source), KEY)
    assert caught.value.key == "single_file_not_supported"


def test_a_damaged_folder_is_told_and_not_passed_over(copy: Path, models_root: Path) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    whole = Source("local", str(models_root / "little-world"))
    with pytest.raises(ModelUnavailable, match="unet"):
        FolderLoader(copy.parent)(spec_of(local(), whole), KEY)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_part_with_a_weight_too_few_is_named_and_not_made_up(copy: Path, part: str) -> None:
    from safetensors.torch import load_file, save_file

    file = weights(copy, part)
    tensors = load_file(file)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, file, metadata={"format": "pt"})
    error = refusal(copy)
    assert error.key == "model_missing"
    assert str(error.values["missing"]).startswith(part)


def test_the_next_model_loads_after_a_damaged_one(copy: Path, load: FolderLoader) -> None:
    weights(copy, "vae").write_bytes(b"")
    refusal(copy)
    assert load(spec_of(local()), KEY).bytes > 0


def test_half_precision_alone_is_enough_for_float32(both_precisions: Path) -> None:
    spec = spec_of(local(both_precisions.name), base=replace(SD15, id=both_precisions.name))
    loader = FolderLoader(both_precisions.parent)
    exact = loader(spec, KEY).components["unet"]
    for file in both_precisions.rglob("*.safetensors"):
        if "fp16" not in file.name:
            file.unlink()
    unet = loader(spec, KEY).components["unet"]
    assert unet.dtype == torch.float32
    for name, parameter in unet.named_parameters():
        torch.testing.assert_close(parameter, exact.get_parameter(name).half().float(), atol=0.0, rtol=0.0)


def test_a_part_without_a_half_precision_copy_is_read_from_its_plain_one(both_precisions: Path) -> None:
    (both_precisions / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    spec = spec_of(local(both_precisions.name), base=replace(SD15, id=both_precisions.name))
    components = FolderLoader(both_precisions.parent)(spec, replace(KEY, dtype="bfloat16")).components
    assert components["vae"].dtype == components["unet"].dtype == torch.bfloat16


def test_sharded_half_precision_weights_are_found_by_their_list(models_root: Path, tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    DiffusionPipeline.from_pretrained(models_root / "sd15").save_pretrained(
        tmp_path / "sd15", variant="fp16", max_shard_size="200KB"
    )
    read = names_read(tmp_path / "sd15", False)
    assert len([name for name in read if "-of-" in name]) > 2
    assert FolderLoader(tmp_path)(spec_of(local("sd15"), base=SD15), KEY).bytes > 0


def test_stock_diffusers_opens_the_same_folder(models_root: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(models_root / "little-world")
    ids = pipeline.tokenizer("a 猫狗 ☂ house").input_ids
    assert ids.count(pipeline.tokenizer.eos_token_id) == 1
    assert ids[-1] == pipeline.tokenizer.eos_token_id
