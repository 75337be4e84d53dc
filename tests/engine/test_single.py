"""Models of one network come by the same way as whole ones, and are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.catalog.little_world import LITTLE_WORLD
from studio.engine.downloads import Download
from studio.engine.hub import CachedRepository, Record
from studio.engine.loaders import ComponentSet, FolderLoader
from studio.engine.memory import storage_bytes
from studio.engine.places import Places
from studio.engine.registry import Registry
from studio.errors import ModelUnavailable
from studio.lineage import weights_sha256
from studio.types import Control, ControlUse, Family, GenerationRequest, ModelSpec, PipelineKey, Source
from tests.hub import FakeHub, served
from tests.tiny_adapters import make_controlnet, make_image_encoder, make_ip_adapter, make_lora

from .following import Follower, asked_for
from .steered import EDGES, LORA

REVISION = "0123456789abcdef0123456789abcdef01234567"
KEY = PipelineKey("x")
HALF = replace(KEY, dtype="bfloat16")


def spec(name: str, kind: Any, filename: str = "", **more: Any) -> ModelSpec:
    return ModelSpec(name, kind, "little_world", (Source("local", name, filename=filename),), **more)


NET = spec("net", "controlnet")
LORA_SPEC = spec("loras", "lora", "a.safetensors")
ADAPTER = spec("ip", "ip_adapter", "ip.safetensors")


@pytest.fixture(scope="session")
def made(models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet, a LoRA and an IP-Adapter with its image encoder, for the tiny little world. Read only."""
    root, base = tmp_path_factory.mktemp("single"), models_root / "little-world"
    make_controlnet(base, strength=0.2).half().save_pretrained(root / "net")
    (root / "loras").mkdir()
    make_lora(root / "loras" / "a.safetensors", base)
    make_ip_adapter(root / "ip" / "ip.safetensors", base)
    encoder = make_image_encoder()
    encoder["image_encoder"].save_pretrained(root / "ip" / "image_encoder")
    encoder["feature_extractor"].save_pretrained(root / "ip" / "image_encoder")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """Copies that a test may harm."""
    import shutil

    return shutil.copytree(made, tmp_path / "single")


def refusal(root: Path, one: ModelSpec, key: PipelineKey = KEY) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as caught:
        FolderLoader(root)(one, key)
    return caught.value


def tensors(components: ComponentSet) -> list[torch.Tensor]:
    parts = components.components.values()
    modules = [tensor for part in parts if isinstance(part, torch.nn.Module) for tensor in part.parameters()]
    return modules + [tensor for part in parts if isinstance(part, dict) for tensor in part.values() if part_of(tensor)]


def part_of(value: object) -> bool:
    return isinstance(value, torch.Tensor)


@pytest.mark.parametrize(
    ("one", "names"),
    [
        (NET, {"controlnet"}),
        (LORA_SPEC, {"weights", "metadata"}),
        (ADAPTER, {"weights", "image_encoder", "feature_extractor"}),
    ],
    ids=lambda value: getattr(value, "id", ""),
)
@pytest.mark.parametrize("key", [KEY, HALF], ids=["float32", "bfloat16"])
def test_it_comes_in_the_dtype_of_the_key_frozen_and_counted(
    made: Path, one: ModelSpec, names: set[str], key: PipelineKey
) -> None:
    loaded = FolderLoader(made)(one, key)
    assert set(loaded.components) == names
    assert {tensor.dtype for tensor in tensors(loaded)} == {getattr(torch, key.dtype)}
    assert not any(tensor.requires_grad for tensor in tensors(loaded))
    assert loaded.bytes == storage_bytes(loaded.components.values()) > 0


def test_a_controlnet_is_what_diffusers_makes_of_the_folder(made: Path) -> None:
    from diffusers import ControlNetModel

    stock = ControlNetModel.from_pretrained(made / "net", dtype=torch.float32).state_dict()
    own = FolderLoader(made)(NET, KEY).components["controlnet"].state_dict()
    assert own.keys() == stock.keys()
    assert all(own[name].equal(stock[name]) for name in stock)


def test_a_lora_brings_what_its_header_says(made: Path) -> None:
    told = FolderLoader(made)(LORA_SPEC, KEY).components["metadata"]
    assert json.loads(told["lora_adapter_metadata"])["unet.r"] == 2


def test_a_folder_with_one_file_needs_no_name(made: Path) -> None:
    unnamed = spec("loras", "lora")
    assert FolderLoader(made)(unnamed, KEY).sha256 == FolderLoader(made)(LORA_SPEC, KEY).sha256


def test_an_image_encoder_may_lie_elsewhere(root: Path) -> None:
    (root / "ip" / "image_encoder").rename(root / "clip")
    assert refusal(root, ADAPTER).values["missing"] == "image_encoder/config.json"
    there = replace(ADAPTER, image_encoder=(Source("local", "nowhere"), Source("local", "clip")))
    loaded = FolderLoader(root)(there, KEY)
    assert loaded.components["feature_extractor"].size["shortest_edge"] == 32
    (root / "clip" / "model.safetensors").write_bytes(b"")
    assert refusal(root, there).values["file"] == "clip/model.safetensors"


def test_pictures_are_prepared_as_clip_does_where_an_encoder_says_nothing(root: Path) -> None:
    (root / "ip" / "image_encoder" / "preprocessor_config.json").unlink()
    prepared = FolderLoader(root)(ADAPTER, KEY).components["feature_extractor"]
    assert (prepared.size["shortest_edge"], prepared.crop_size["height"]) == (32, 32)


@pytest.mark.parametrize(
    ("one", "file", "named"),
    [
        (NET, "net/config.json", "net/config.json"),
        (NET, "net/diffusion_pytorch_model.safetensors", "net/diffusion_pytorch_model.safetensors"),
        (LORA_SPEC, "loras/a.safetensors", "a.safetensors"),
        (ADAPTER, "ip/ip.safetensors", "ip.safetensors"),
        (ADAPTER, "ip/image_encoder/model.safetensors", "image_encoder/model.safetensors"),
    ],
)
def test_what_is_missing_or_cut_off_is_named(root: Path, one: ModelSpec, file: str, named: str) -> None:
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[:-3])
    error = refusal(root, one)
    assert (error.key, error.values["file"]) == ("model_damaged", named)
    (root / file).unlink()
    error = refusal(root, one)
    assert (error.key, error.values["missing"]) == ("model_missing", named)
    problem = Places(FolderLoader(root), {one.id: one}).look()[one.id].problem
    assert problem is not None
    assert problem.values == error.values


def test_a_weight_too_few_is_named_and_not_made_up(root: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = root / "net" / "diffusion_pytorch_model.safetensors"
    kept = load_file(file)
    del kept["conv_in.bias"]
    save_file(kept, file, metadata={"format": "pt"})
    assert refusal(root, NET).values["missing"] == "controlnet: conv_in.bias"


def test_only_safetensors_are_read(root: Path) -> None:
    (root / "loras" / "a.safetensors").rename(root / "loras" / "a.pt")
    assert refusal(root, spec("loras", "lora", "a.pt")).key == "only_safetensors"


def test_another_network_is_not_taken_for_a_controlnet(root: Path) -> None:
    config = root / "net" / "config.json"
    config.write_text(config.read_text().replace('"ControlNetModel"', '"ControlNetUnionModel"'))
    error = refusal(root, NET)
    assert (error.key, error.values["found"]) == ("another_network", "ControlNetUnionModel")


def test_a_gate_sees_the_file_before_anything_is_read_of_it(made: Path) -> None:
    seen = []

    def gate(one: ModelSpec, file: Path) -> None:
        seen.append(file.name)
        raise ModelUnavailable("only_safetensors", model=one.id, file=file.name)

    loader = FolderLoader(made, gates={"lora": gate})
    with pytest.raises(ModelUnavailable):
        loader.look(LORA_SPEC, "float32")
    assert loader(NET, KEY).bytes
    assert seen == ["a.safetensors"]


@pytest.mark.parametrize("one", [NET, LORA_SPEC, ADAPTER], ids=lambda one: one.id)
def test_a_download_is_found_and_held_to_its_record(made: Path, tmp_path: Path, one: ModelSpec) -> None:
    import shutil

    repository = CachedRepository(tmp_path / "hub", "some/repo")
    shutil.copytree(made, repository.snapshot(REVISION))
    (own,) = one.sources
    remote = replace(one, sources=(replace(own, hub="huggingface", repo="some/repo", subfolder=own.repo),))
    loader = FolderLoader(tmp_path, cache_dir=repository.cache)
    with pytest.raises(ModelUnavailable) as caught:
        loader(remote, KEY)
    assert caught.value.key == "not_downloaded"
    name = {"controlnet": "net/config.json", "lora": "loras/a.safetensors"}.get(
        one.kind, "ip/image_encoder/config.json"
    )
    repository.write_record(one.id, Record("some/repo", "main", REVISION, {}))
    assert loader(remote, KEY).source.revision == REVISION
    repository.write_record(one.id, Record("some/repo", "main", REVISION, {name: "0" * 64}))
    with pytest.raises(ModelUnavailable) as caught:
        loader(remote, KEY)
    assert caught.value.key == "model_damaged"


def facts_of(one: ModelSpec, root: Path, **builds_on: str) -> None:
    """Write what a training would have told."""
    beside = root / "loras" / "a.json" if one is LORA_SPEC else root / one.id / "metrics.json"
    beside.write_text(json.dumps({"builds_on": builds_on}))


@pytest.mark.parametrize(("one", "control"), [(NET, EDGES), (LORA_SPEC, LORA)], ids=["controlnet", "lora"])
def test_one_that_was_trained_on_another_base_is_refused_before_it_draws(
    root: Path,
    models_root: Path,
    families: tuple[Family, ...],
    request_for: Callable[..., GenerationRequest],
    one: ModelSpec,
    control: Control,
) -> None:
    own = replace(control, specs=(replace(one, sources=(replace(one.sources[0], repo=str(root / one.id)),)),))
    request = request_for(controls=(ControlUse(own.id, one.id),))
    for recorded, refused in ((weights_sha256(models_root / "little-world" / "unet"), False), ("f" * 64, True)):
        facts_of(one, root, unet=recorded, latents="of no part that is at hand")
        registry = Registry(families, FolderLoader(models_root), 100_000_000, controls={own.id: own})
        if not refused:
            with registry.lease_for(request) as lease:
                assert lease.steering.count == 1
            continue
        with pytest.raises(ModelUnavailable) as caught, registry.lease_for(request):
            pass
        assert (caught.value.key, caught.value.values["part"]) == ("other_base", "unet")


def test_an_ip_adapter_of_another_image_encoder_is_refused(root: Path) -> None:
    facts_of(ADAPTER, root, clip=weights_sha256(root / "ip" / "image_encoder"))
    assert FolderLoader(root)(ADAPTER, KEY).bytes
    facts_of(ADAPTER, root, clip="f" * 64)
    assert refusal(root, ADAPTER).values["part"] == "clip"


def test_the_hash_of_a_part_is_that_of_its_lineage(load: FolderLoader, models_root: Path) -> None:
    parts = load(replace(LITTLE_WORLD, sources=(Source("local", "little-world"),)), KEY).parts_sha256
    assert parts["unet"] == weights_sha256(models_root / "little-world" / "unet")


@pytest.fixture
def hub(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine with all of them as some/repo, and files that nobody needs beside."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with served(made) as running:
        running.files |= {"net/net.py": b"import os", "ip/other.safetensors": b"x" * 9, "net/x/config.json": b"{}"}
        yield running


@pytest.mark.parametrize("one", [NET, LORA_SPEC, ADAPTER], ids=lambda one: one.id)
def test_one_network_is_downloaded_with_no_file_too_many(hub: FakeHub, tmp_path: Path, one: ModelSpec) -> None:
    (own,) = one.sources
    remote = replace(one, sources=(replace(own, hub="huggingface", repo="some/repo", subfolder=own.repo),))
    Download(remote, tmp_path / "cache", hub.endpoint, pause=lambda seconds: None).run(Follower())
    loader = FolderLoader(tmp_path, cache_dir=tmp_path / "cache")
    loaded = loader(remote, KEY)
    assert loaded.source.revision == hub.commit
    _, folder = loader.look(remote, "float32")
    read = sorted(file.relative_to(folder.path.parent).as_posix() for file in folder.files)
    assert sorted(set(asked_for(hub))) == read


def test_a_network_that_a_repository_has_not_whole_is_told_before_anything_comes(hub: FakeHub, tmp_path: Path) -> None:
    del hub.files["net/config.json"]
    remote = replace(NET, sources=(Source("huggingface", "some/repo", subfolder="net"),))
    with pytest.raises(ModelUnavailable) as caught:
        Download(remote, tmp_path / "cache", hub.endpoint, pause=lambda seconds: None).run(Follower())
    assert caught.value.values["missing"] == "net/config.json"
    assert asked_for(hub) == []
