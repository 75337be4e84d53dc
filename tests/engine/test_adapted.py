"""Clones with real adapters, drawn through the whole engine: their pictures are stock diffusers', and cost little."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine.adapted import AdaptedSet
from studio.engine.generate import Generation
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.engine.snapshot import ResidentSnapshot
from studio.engine.views import build_scheduler
from studio.types import ControlUse, Family, GenerationRequest, PipelineKey, Task
from tests.tiny import NATIVE_SIZE

from .conftest import Listener
from .steered import IP_ADAPTER, AdapterLoader, steered_registry

Requests = Callable[..., GenerationRequest]
STEPS = 2
SCALE = 0.6


@pytest.fixture(scope="module")
def loader(load: FolderLoader, tmp_path_factory: pytest.TempPathFactory) -> AdapterLoader:
    return AdapterLoader(load, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def registry(families: tuple[Family, ...], loader: AdapterLoader) -> Registry:
    return steered_registry(families, loader)


@pytest.fixture
def wish(request_for: Requests) -> Callable[..., GenerationRequest]:
    def make(*uses: ControlUse, **changes: Any) -> GenerationRequest:
        return request_for("sd15", num_inference_steps=STEPS, controls=uses, **changes)

    return make


def draw(registry: Registry, request: GenerationRequest) -> np.ndarray:
    return np.asarray(Generation(request).run(Listener(registry)).images[0]).astype(int)


def lora(name: str = "lora-a", scale: float = SCALE) -> ControlUse:
    return ControlUse("lora", name, scale=scale)


def shown(colour: str = "red", scale: float = SCALE) -> ControlUse:
    return ControlUse("ip", "ip", (Image.new("RGB", (32, 32), colour),), scale=scale)


def traced(control: str = "edges", name: str = "net-a", colour: str = "white") -> ControlUse:
    return ControlUse(control, name, (Image.new("RGB", (NATIVE_SIZE, NATIVE_SIZE), colour),), scale=SCALE)


def stock(models_root: Path, request: GenerationRequest, load: Callable[[Any], dict[str, Any]]) -> np.ndarray:
    """The picture of diffusers alone. load: puts adapters on its pipeline, and gives the further arguments."""
    from diffusers import StableDiffusionPipeline

    from tests.tiny_adapters import make_image_encoder

    pipeline = StableDiffusionPipeline.from_pretrained(
        models_root / "sd15", dtype=torch.float32, **make_image_encoder()
    )
    pipeline.scheduler = build_scheduler(request.scheduler, pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    arguments = load(pipeline)
    image = pipeline(
        request.prompt,
        num_inference_steps=STEPS,
        guidance_scale=request.guidance_scale,
        width=NATIVE_SIZE,
        height=NATIVE_SIZE,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        **arguments,
    ).images[0]
    return np.asarray(image).astype(int)


def clones(registry: Registry) -> list[ResidentSnapshot]:
    return [one for one in registry.snapshot().resident if one.adapters]


def test_a_lora_gives_the_picture_of_stock_diffusers(
    registry: Registry, loader: AdapterLoader, models_root: Path, wish: Requests
) -> None:
    ours = draw(registry, wish(lora()))

    def load(pipeline: Any) -> dict[str, Any]:
        pipeline.load_lora_weights(loader.folder / "lora-a.safetensors", adapter_name="a")
        pipeline.set_adapters(["a"], [SCALE])
        return {}

    np.testing.assert_array_equal(ours, stock(models_root, wish(), load))
    assert np.abs(ours - draw(registry, wish())).max() > 10


def test_two_loras_of_different_strength_give_the_picture_of_stock_diffusers(
    registry: Registry, loader: AdapterLoader, models_root: Path, wish: Requests
) -> None:
    ours = draw(registry, wish(lora("lora-a", 0.3), lora("lora-b", 0.9)))
    np.testing.assert_array_equal(ours, draw(registry, wish(lora("lora-b", 0.9), lora("lora-a", 0.3))))

    def load(pipeline: Any) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            for name in ("a", "b"):
                pipeline.load_lora_weights(loader.folder / f"lora-{name}.safetensors", adapter_name=name)
        pipeline.set_adapters(["a", "b"], [0.3, 0.9])
        return {}

    assert np.abs(ours - stock(models_root, wish(), load)).max() <= 1


def test_an_ip_adapter_gives_the_picture_of_stock_diffusers(
    registry: Registry, loader: AdapterLoader, models_root: Path, wish: Requests
) -> None:
    ours = draw(registry, wish(shown("red")))

    def load(pipeline: Any) -> dict[str, Any]:
        pipeline.load_ip_adapter(
            str(loader.folder), subfolder="", weight_name="ip.safetensors", image_encoder_folder=None
        )
        pipeline.set_ip_adapter_scale(SCALE)
        return {"ip_adapter_image": Image.new("RGB", (32, 32), "red")}

    np.testing.assert_array_equal(ours, stock(models_root, wish(), load))
    assert np.abs(ours - draw(registry, wish(shown("blue")))).max() > 0


def test_a_lora_and_an_ip_adapter_act_on_one_clone(registry: Registry, wish: Requests) -> None:
    pictures = [draw(registry, wish(*uses)) for uses in ((lora(), shown()), (lora(),), (shown(),), ())]
    assert len({picture.tobytes() for picture in pictures}) == 4
    both = draw(registry, wish(shown(scale=0.0), lora()))
    np.testing.assert_array_equal(both, draw(registry, wish(lora())))


def test_a_lora_of_strength_zero_is_the_base(registry: Registry, wish: Requests) -> None:
    np.testing.assert_array_equal(draw(registry, wish(lora(scale=0.0))), draw(registry, wish()))


def test_a_controlnet_acts_beside_the_pristine_model(registry: Registry, wish: Requests) -> None:
    before = clones(registry)
    plain = draw(registry, wish())
    np.testing.assert_array_equal(draw(registry, wish(traced(name="net-zero"))), plain)
    assert np.abs(draw(registry, wish(traced())) - plain).max() > 5
    assert clones(registry) == before


def test_two_controlnets_of_two_controls_act_together(registry: Registry, wish: Requests) -> None:
    one = draw(registry, wish(traced()))
    with_nothing = draw(registry, wish(traced(), traced("pose", "net-zero")))
    assert np.abs(one - with_nothing).max() <= 1
    twice = draw(registry, wish(traced(), traced("pose", "net-a")))
    assert np.abs(twice - one).max() > 5


def test_a_controlnet_a_lora_and_an_ip_adapter_act_together_from_a_picture(registry: Registry, wish: Requests) -> None:
    picture = Image.new("RGB", (NATIVE_SIZE, NATIVE_SIZE), "green")
    start = {"task": Task.IMAGE_TO_IMAGE, "init_image": picture, "strength": 1.0}
    every = (lora(), shown(), traced())
    pictures = [draw(registry, wish(*uses, **start)) for uses in (every, every[1:], every[:2], every[::2])]
    assert len({one.tobytes() for one in pictures}) == 4


def test_a_clone_is_billed_for_its_adapters_alone(
    families: tuple[Family, ...], loader: AdapterLoader, wish: Requests
) -> None:
    from safetensors import safe_open

    registry = steered_registry(families, loader)
    plain = registry.snapshot().bytes
    draw(registry, wish())
    base = registry.snapshot().bytes - plain
    draw(registry, wish(lora()))
    (clone,) = clones(registry)
    with safe_open(loader.folder / "lora-a.safetensors", "pt") as opened:
        file_bytes = sum(4 * opened.get_tensor(name).numel() for name in opened.keys())  # noqa: SIM118
    assert clone.bytes == base + file_bytes
    assert file_bytes <= registry.snapshot().bytes - base <= 2 * file_bytes  # on the clone, and as they were read


def test_another_strength_finds_the_same_clone(
    families: tuple[Family, ...], loader: AdapterLoader, wish: Requests
) -> None:
    registry = steered_registry(families, loader)
    for scale in (0.2, 0.8, 0.2):
        draw(registry, wish(lora(scale=scale)))
    (clone,) = clones(registry)
    assert clone.hits == 2


def test_a_clone_that_nobody_leases_makes_room_and_its_base_stays(
    families: tuple[Family, ...], loader: AdapterLoader, wish: Requests
) -> None:
    ample = steered_registry(families, loader)
    for use in (lora(), shown()):
        draw(ample, wish(use))
    registry = steered_registry(families, loader, limit_bytes=ample.snapshot().bytes - 1)
    draw(registry, wish(lora()))
    with registry.lease(registry.key("sd15")) as lease:
        base = lease.components
    draw(registry, wish(shown()))
    assert [one.key.adapters for one in clones(registry)] == [frozenset({f"ip:{sha256_of(loader, IP_ADAPTER)}"})]
    with registry.lease(registry.key("sd15")) as lease:
        assert lease.components is base


def sha256_of(loader: AdapterLoader, model: Any) -> str:
    return loader(model, PipelineKey(model.id)).sha256


def test_a_clone_is_one_calls_at_a_time(registry: Registry, wish: Requests) -> None:
    request = wish(lora())
    taken = threading.Event()
    with registry.lease_for(request) as lease, lease.steered(lease.view(request.task, request.scheduler)):
        assert isinstance(lease.components, AdaptedSet)

        def other() -> None:
            with lease.components.lock:
                taken.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert not taken.wait(0.05)
    assert taken.wait(10)
    thread.join()
