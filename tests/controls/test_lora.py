"""LoRAs act as stock diffusers lets them act, on a clone of their own, and leave nothing behind."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studio.controls.lora import CONTROL
from studio.engine.generate import Generation
from studio.engine.images import png_bytes
from studio.engine.infotext import read, write
from studio.engine.loaders import FolderLoader
from studio.engine.lora_shelf import LoraShelf
from studio.engine.registry import Registry
from studio.errors import InvalidInput, ModelUnavailable
from studio.types import ControlUse, Family, GenerationRequest, Scheduler, Task
from tests.engine.conftest import Listener
from tests.engine.fingerprint import fingerprint
from tests.engine.loras import diffusers_file, kohya_file, written
from tests.tiny import NATIVE_SIZE
from tests.tiny_adapters import make_lora

Requests = Callable[..., GenerationRequest]
FAMILY_OF = {"little-world": "little_world", "sd15": "sd15"}
NAMES = ("attention", "everything", "convolutions")


@pytest.fixture(scope="module")
def shelf(families: tuple[Family, ...], load: FolderLoader, tmp_path_factory: pytest.TempPathFactory) -> LoraShelf:
    """For each base three LoRAs: diffusers' own, kohya's of every linear layer, and one of convolutions."""
    own = tmp_path_factory.mktemp("loras")
    bases = {spec.id: spec for family in families for spec in family.specs}
    shelf = LoraShelf({}, own, bases, load.look)
    for base, family in FAMILY_OF.items():
        folder = own / family
        folder.mkdir()
        make_lora(folder / f"attention-{family}.safetensors", load.root / base)
        modules = shelf.base(family).modules
        linear = {part: {name: w for name, w in inside.items() if len(w) == 2} for part, inside in modules.items()}
        convolutions = {"unet": {name: weight for name, weight in modules["unet"].items() if len(weight) == 4}}
        written(folder / f"everything-{family}.safetensors", kohya_file(linear, alpha=0.5, size=1.0))
        written(
            folder / f"convolutions-{family}.safetensors",
            diffusers_file(convolutions, seed=3, size=1.0),
            {"trigger": "Momo"},
        )
    return shelf


@pytest.fixture(scope="module")
def registry(families: tuple[Family, ...], load: FolderLoader, shelf: LoraShelf) -> Iterator[Registry]:
    gated = replace(load, gates={"lora": shelf.gate})
    registry = Registry(families, gated, 200_000_000, controls={"lora": CONTROL})
    for spec in shelf.specs():
        registry.admit(spec)
    yield registry


def draw(registry: Registry, request: GenerationRequest) -> np.ndarray:
    return np.asarray(Generation(request).run(Listener(registry)).images[0])


def use(shelf: LoraShelf, name: str, base: str, scale: float = 1.0, **options: Any) -> ControlUse:
    spec = shelf.usable()[f"{name}-{FAMILY_OF[base]}"].spec
    assert spec is not None
    return ControlUse("lora", spec.id, scale=scale, options=options)


def stock(registry: Registry, request: GenerationRequest, files: dict[str, tuple[Path, float]]) -> np.ndarray:
    """The picture of diffusers' own pipeline with its own loading of LoRAs. files: by name, with the weight."""
    from diffusers import StableDiffusionPipeline

    folder = registry.specs[request.base_id].sources[0].repo
    pipeline = StableDiffusionPipeline.from_pretrained(registry._load.root / folder)  # type: ignore[attr-defined]
    pipeline.set_progress_bar_config(disable=True)
    with registry.lease(registry.key(request.base_id)) as lease:
        pipeline.scheduler = lease.view(Task.TEXT_TO_IMAGE, request.scheduler).scheduler
    for name, (path, _) in files.items():
        pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=name)
    pipeline.set_adapters(list(files), [weight for _, weight in files.values()])
    import torch

    return np.asarray(
        pipeline(
            request.prompt,
            width=NATIVE_SIZE,
            height=NATIVE_SIZE,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
    )


@pytest.mark.parametrize("base", FAMILY_OF)
@pytest.mark.parametrize("names", [("attention",), ("everything",), ("convolutions",), ("attention", "convolutions")])
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_it_draws_what_stock_diffusers_draws(
    registry: Registry, request_for: Requests, shelf: LoraShelf, base: str, names: tuple[str, ...]
):
    uses = tuple(use(shelf, name, base, 0.2 + 0.1 * place) for place, name in enumerate(names))
    request = request_for(base, controls=uses, scheduler=Scheduler.DDIM)
    items = shelf.usable()
    files = {name: (items[f"{name}-{FAMILY_OF[base]}"].path, one.scale) for name, one in zip(names, uses, strict=True)}
    own, expected = draw(registry, request), stock(registry, request, files)
    assert np.abs(own.astype(int) - expected).max() <= 1  # the same sum in another order
    assert np.abs(own.astype(int) - draw(registry, request_for(base, scheduler=Scheduler.DDIM))).max() > 2


@pytest.mark.parametrize("base", FAMILY_OF)
def test_a_weight_of_zero_is_the_base_bit_by_bit(
    registry: Registry, request_for: Requests, shelf: LoraShelf, base: str
):
    off = tuple(use(shelf, name, base, 0.0) for name in NAMES)
    assert (draw(registry, request_for(base, controls=off)) == draw(registry, request_for(base))).all()


def test_text_encoder_blocks_and_rank_act_on_their_own(registry: Registry, request_for: Requests, shelf: LoraShelf):
    def drawn(**options: Any) -> np.ndarray:
        return draw(registry, request_for("sd15", controls=(use(shelf, "attention", "sd15", 0.5, **options),)))

    pictures = [
        drawn(),
        drawn(text_encoder=0.0),
        drawn(rank=1),
        drawn(**{"down_blocks.0": 0.0}),
        drawn(**{"up_blocks.1": 0.5}),
    ]
    for index, picture in enumerate(pictures):
        assert all((picture != other).any() for other in pictures[:index])
    assert (drawn(text_encoder=1.0, rank=2) == pictures[0]).all()  # of rank 2 as it is
    blocks = dict.fromkeys(("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"), 0.0)
    nothing = drawn(text_encoder=0.0, **blocks)
    assert (nothing == draw(registry, request_for("sd15"))).all()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"options": {"rank": 1.5}}, "bad_number"),
        ({"options": {"text_encoder": float("nan")}}, "bad_number"),
        ({"options": {"mid_block": 3}}, "bad_number"),
        ({"options": {"mid_block": True}}, "bad_number"),
        ({"options": {"__class__": 1}}, "unknown_option"),
        ({"options": {"down_blocks.9": 1}}, "not_a_choice"),
        ({"start": 0.5}, "lora_all_steps"),
    ],
)
def test_what_a_lora_cannot_do_is_refused(
    registry: Registry, request_for: Requests, shelf: LoraShelf, changes: dict[str, Any], key: str
):
    bad = replace(use(shelf, "attention", "sd15"), **changes)
    with pytest.raises(InvalidInput) as refused:
        draw(registry, request_for("sd15", controls=(bad,)))
    assert refused.value.key == key


def test_one_of_another_family_or_kind_is_refused(registry: Registry, request_for: Requests, shelf: LoraShelf):
    for bad in (use(shelf, "attention", "little-world"), ControlUse("lora", "sd15")):
        with pytest.raises(InvalidInput):
            draw(registry, request_for("sd15", controls=(bad,)))


def test_a_file_that_breaks_a_rule_on_the_shelf_is_not_loaded(
    registry: Registry, request_for: Requests, shelf: LoraShelf, tmp_path: Path
):
    item = shelf.usable()["attention-sd15"]
    assert item.spec is not None
    path = tmp_path / item.path.name
    path.write_bytes(item.path.read_bytes()[:-8])
    source = replace(item.spec.sources[0], repo=str(tmp_path))
    broken = replace(item.spec, id="lora-broken-0", title="broken", sources=(source,))
    registry.admit(broken)
    before = draw(registry, request_for("sd15"))
    with pytest.raises(ModelUnavailable):
        draw(registry, request_for("sd15", controls=(ControlUse("lora", "lora-broken-0"),)))
    assert (draw(registry, request_for("sd15")) == before).all()


def test_a_hundred_switches_leave_the_base_as_it_was_and_memory_flat(
    registry: Registry, request_for: Requests, shelf: LoraShelf
):
    rng = np.random.default_rng(0)
    plain = request_for("sd15", num_inference_steps=1)
    expected = draw(registry, plain)
    alone: dict[tuple[tuple[str, float], ...], bytes] = {}
    with registry.lease(registry.key("sd15")) as lease:
        before = fingerprint(lease.components)
    sizes = []
    for switch in range(100):
        names = rng.permutation(NAMES)[: rng.integers(3)]
        uses = tuple(use(shelf, name, "sd15", float(rng.choice([0.3, 0.7]))) for name in names)
        if switch % 10:  # only put on and off
            with registry.lease_for(replace(plain, controls=uses)) as lease:
                with lease.steered(lease.view(Task.TEXT_TO_IMAGE, plain.scheduler)):
                    continue
        drawn = draw(registry, replace(plain, controls=uses)).tobytes()
        key = tuple(sorted((one.model_id, one.scale) for one in uses))
        assert alone.setdefault(key, drawn) == drawn if uses else drawn == expected.tobytes()
        if switch >= 50:  # by now every set of them has been asked for
            gc.collect()
            sizes.append(registry.snapshot().bytes)
    with registry.lease(registry.key("sd15")) as lease:
        assert fingerprint(lease.components) == before
    assert max(sizes) == min(sizes)


def test_a_tag_in_the_prompt_is_the_same_as_a_control_and_comes_back_from_the_picture(
    registry: Registry, request_for: Requests, shelf: LoraShelf
):
    wish = request_for("sd15", prompt="a cat <lora:attention-sd15:te=0.2:unet=0.5:mid_block=0> in a room")
    result = Generation(wish).run(Listener(registry))
    own = use(shelf, "attention", "sd15", 0.5, text_encoder=0.4, mid_block=0.0)
    same = request_for("sd15", prompt="a cat in a room", controls=(own,))
    assert (np.asarray(result.images[0]) == draw(registry, same)).all()
    assert result.request == same
    data = png_bytes(result.images[0], write(result.request, result.model_sha256))
    restored = read(data, ["sd15"])
    assert restored.problems == () and "controls" not in restored.values
    again = replace(wish, prompt=restored.values["prompt"])
    assert (draw(registry, again) == np.asarray(result.images[0])).all()
