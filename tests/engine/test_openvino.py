from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studio.engine import backends
from studio.engine.backends import Backing, UNetStandIn, convert, install, open_runtime, prepare
from studio.engine.clone import clone_shared
from studio.engine.generate import Generation
from studio.engine.loaders import FolderLoader
from studio.engine.memory import storage_bytes
from studio.engine.openvino import MOST_COMPILED, Graph, GuidedGraph, Runtime, convert_unet
from studio.engine.registry import Registry
from studio.errors import StudioError
from studio.events import GenerationResult
from studio.settings import ROOT
from studio.types import Family, GenerationRequest, Precision, Scheduler, Task

from .conftest import LIMIT_BYTES, Listener

pytest.importorskip("openvino", reason="pip install -r requirements.txt brings it")
Requests = Callable[..., GenerationRequest]
BASES = ("little-world", "sd15")


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(threads=1)


@pytest.fixture(scope="module")
def loader(models_root: Path, runtime: Runtime) -> FolderLoader:
    return FolderLoader(models_root, convert=partial(convert, runtime))


@pytest.fixture(scope="module")
def fast_registry(families: tuple[Family, ...], loader: FolderLoader) -> Registry:
    """Its models are drawn by OpenVINO."""
    return Registry(families, loader, LIMIT_BYTES)


def draw(registry: Registry, request: GenerationRequest, **options: Any) -> GenerationResult:
    return Generation(request, **options).run(Listener(registry))


def pixels(result: GenerationResult) -> np.ndarray:
    return np.array([np.asarray(image).astype(int) for image in result.images])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """In dB, of pictures in 0..255."""
    return float(10 * np.log10(255.0**2 / max(1e-9, float(np.mean((a - b) ** 2.0)))))


@pytest.mark.parametrize("base_id", [*BASES, "sdxl"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"guidance_scale": 1.0, "num_images": 2},
        {"width": 72, "height": 40, "scheduler": Scheduler.EULER},
    ],
    ids=["guided", "two unguided", "odd latents"],
)
def test_the_exact_picture_is_that_of_pytorch(
    registry: Registry, fast_registry: Registry, request_for: Requests, base_id: str, changes: dict[str, Any]
) -> None:
    request = request_for(base_id, **changes)
    theirs, ours = draw(registry, request), draw(fast_registry, request)
    assert (theirs.backend, ours.backend, ours.notes) == ("torch", "openvino", ())
    assert np.abs(pixels(theirs) - pixels(ours)).max() <= 1


@pytest.mark.parametrize("base_id", BASES)
def test_the_fast_picture_is_nearly_the_exact_one(
    fast_registry: Registry, request_for: Requests, runtime: Runtime, base_id: str
) -> None:
    exact = draw(fast_registry, request_for(base_id))
    fast = draw(fast_registry, request_for(base_id, precision=Precision.FAST))
    assert psnr(pixels(exact), pixels(fast)) >= 30.0
    if runtime.has_bfloat16:
        assert (pixels(exact) != pixels(fast)).any() and fast.notes == ()
    else:
        assert (pixels(exact) == pixels(fast)).all() and fast.notes == ("fast_not_on_this_cpu",)


@pytest.mark.parametrize("precision", Precision)
def test_the_same_request_gives_the_same_bytes(
    fast_registry: Registry, request_for: Requests, precision: Precision
) -> None:
    request = request_for(precision=precision)
    first = draw(fast_registry, request)
    draw(fast_registry, request_for(width=96, precision=precision))
    np.testing.assert_array_equal(pixels(draw(fast_registry, request)), pixels(first))


def test_threads_that_draw_at_once_get_what_they_get_alone(fast_registry: Registry, request_for: Requests) -> None:
    requests = [request_for(seed=seed) for seed in range(4)]
    alone = [pixels(draw(fast_registry, request)) for request in requests]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda request: pixels(draw(fast_registry, request)), requests))
    np.testing.assert_array_equal(together, alone)


def test_converting_leaves_the_weights_and_modules_as_they_were(models_root: Path, runtime: Runtime) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(models_root / "little-world" / "unet").requires_grad_(False)
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in unet.named_parameters()}
    convert_unet(unet)
    after = dict(unet.named_parameters())
    assert {name: tensor.data_ptr() for name, tensor in after.items()} == {name: at for name, (at, _) in before.items()}
    assert all(after[name].equal(tensor) for name, (_, tensor) in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())


def stand_in(unet: Any, runtime: Runtime) -> UNetStandIn:
    plain, controlled = convert_unet(unet)
    made = (Graph(runtime, plain, 0), GuidedGraph(runtime, plain, 0), Graph(runtime, controlled, 0))
    graphs = backends.Graphs(runtime, *made, decoder=Graph(runtime, None, 0))
    return UNetStandIn(unet, graphs, Precision.EXACT, lambda change: None, Backing())


def test_stock_controlnets_steer_the_converted_unet(fast_registry: Registry) -> None:
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
    from PIL import Image

    def picture(components: dict[str, Any]) -> np.ndarray:
        pipeline = StableDiffusionControlNetPipeline(**components, safety_checker=None, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        seed = torch.Generator().manual_seed(3)
        drawn = pipeline("a cat", Image.new("RGB", (64, 64), "red"), num_inference_steps=2, generator=seed)
        return np.asarray(drawn.images[0]).astype(int)

    with fast_registry.lease(fast_registry.key("sd15")) as lease:
        parts = {**lease.components.components, "feature_extractor": None, "image_encoder": None}
        parts.pop("safety_checker", None)
        torch.manual_seed(0)
        controlnet = ControlNetModel.from_unet(parts["unet"])
        for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
            torch.nn.init.normal_(layer.weight, std=0.2)
        view = lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM)
        install(view, Precision.EXACT, lease)
        theirs = picture({**parts, "controlnet": controlnet})
        ours = picture({**parts, "controlnet": controlnet, "unet": view.unet})
        without = draw(fast_registry, GenerationRequest("sd15", "a cat", 3, width=64, height=64, num_inference_steps=2))
    assert np.abs(theirs - ours).max() <= 1
    assert psnr(ours, pixels(without)[0]) < 40.0


def test_residuals_of_zero_change_nothing(models_root: Path, runtime: Runtime) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(models_root / "sd15" / "unet").requires_grad_(False)
    sample, context = torch.randn(2, 4, 8, 8), torch.randn(2, 64, unet.config.cross_attention_dim)
    down = [torch.zeros(2, c, s, s) for c, s in ((16, 8), (16, 8), (16, 4), (32, 4))]
    converted = stand_in(unet, runtime)
    plain = converted(sample, torch.tensor(7), context, return_dict=False)[0]
    controlled = converted(
        sample,
        torch.tensor(7),
        context,
        down_block_additional_residuals=down,
        mid_block_additional_residual=torch.zeros(2, 32, 4, 4),
    ).sample
    torch.testing.assert_close(controlled, plain, atol=1e-5, rtol=1e-5)


def test_what_the_graph_knows_nothing_of_is_refused(models_root: Path, runtime: Runtime) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(models_root / "little-world" / "unet").requires_grad_(False)
    with pytest.raises(TypeError, match="cross_attention_kwargs"):
        stand_in(unet, runtime)(torch.randn(1, 4, 8, 8), 1, None, cross_attention_kwargs={"scale": 0.5})


def test_a_clone_with_adapters_is_drawn_by_pytorch_and_noted(fast_registry: Registry) -> None:
    with fast_registry.lease(fast_registry.key("little-world")) as lease:
        view = lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM)
        view.unet = clone = clone_shared(view.unet)
        backing = install(view, Precision.FAST, lease)
    assert view.unet is clone
    assert (backing.name, backing.notes) == ("torch", ("drawn_by_torch",))


def test_looking_inside_changes_no_byte(fast_registry: Registry, request_for: Requests) -> None:
    seen = draw(fast_registry, request_for(precision=Precision.FAST), inside=True)
    assert (seen.backend, seen.inside.total_steps) == ("openvino", 4)
    np.testing.assert_array_equal(pixels(seen), pixels(draw(fast_registry, request_for(precision=Precision.FAST))))


def test_what_was_compiled_is_billed_and_the_longest_unused_makes_room(
    families: tuple[Family, ...], loader: FolderLoader, request_for: Requests
) -> None:
    registry = Registry(families, loader, LIMIT_BYTES)
    sizes = [64 + 8 * n for n in range(MOST_COMPILED + 1)]
    billed = []
    for width in sizes:
        draw(registry, request_for(width=width))
        billed.append(registry.snapshot().bytes)
    with registry.lease(registry.key("little-world")) as lease:
        parts = lease.components.components
        weights = storage_bytes([parts["unet"]]) + storage_bytes([parts["vae"].decoder])
        steps = np.diff([lease.components.bytes, *billed])
    np.testing.assert_allclose(steps[:MOST_COMPILED], 2.1 * weights, rtol=1e-3)
    assert (steps[MOST_COMPILED:] == 0).all()


@pytest.mark.parametrize("base_id", BASES)
def test_what_the_first_picture_needs_can_be_compiled_ahead(
    families: tuple[Family, ...], loader: FolderLoader, base_id: str
) -> None:
    registry = Registry(families, loader, LIMIT_BYTES)
    with registry.lease(registry.key(base_id)) as lease:
        loaded = registry.snapshot().bytes
        prepare(lease)
        own = lease.spec.defaults
    ahead = registry.snapshot().bytes
    request = GenerationRequest(
        base_id, "a cat", 1, width=own.width, height=own.height, num_inference_steps=1, precision=own.precision
    )
    assert draw(registry, request).backend == "openvino"
    assert loaded < ahead == registry.snapshot().bytes


def test_where_there_is_no_room_pytorch_draws_and_it_is_noted(
    families: tuple[Family, ...], loader: FolderLoader, registry: Registry, request_for: Requests
) -> None:
    with registry.lease(registry.key("little-world")) as lease:
        tight = Registry(families, loader, max(lease.components.bytes, 1_000_000) + 1_000)
    result = draw(tight, request_for(precision=Precision.FAST))
    assert (result.backend, result.notes) == ("torch", ("no_room_for_openvino",))
    np.testing.assert_array_equal(pixels(result), pixels(draw(registry, request_for())))


def test_without_openvino_pytorch_draws_and_says_what_fast_needs(
    registry: Registry, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert open_runtime("auto", "cpu", 0) is None
    with pytest.raises(StudioError) as caught:
        open_runtime("openvino", "cpu", 0)
    assert caught.value.key == "openvino_missing"
    assert draw(registry, request_for(precision=Precision.FAST)).notes == ("fast_needs_openvino",)


def test_on_a_graphics_card_pytorch_draws() -> None:
    assert open_runtime("auto", "cuda", 0) is None
    assert open_runtime("torch", "cpu", 0) is None
    with pytest.raises(StudioError) as caught:
        open_runtime("openvino", "cuda", 0)
    assert caught.value.key == "openvino_only_cpu"


def test_a_model_that_cannot_be_converted_is_drawn_by_pytorch(
    families: tuple[Family, ...], models_root: Path, request_for: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(components: Any) -> Any:
        raise RuntimeError("no such operation")

    registry = Registry(families, FolderLoader(models_root, convert=refuse), LIMIT_BYTES)
    assert draw(registry, request_for()).backend == "torch"
    assert "no such operation" in caplog.text


def test_every_note_has_a_sentence_in_both_languages() -> None:
    from studio.text import LANGUAGES, t

    notes = ("drawn_by_torch", "fast_not_on_this_cpu", "fast_needs_openvino", "no_room_for_openvino")
    assert all(t(f"note.{note}", language) for note in (*notes, "exact_needs_float32") for language in LANGUAGES)


@pytest.mark.parametrize(
    "code",
    [
        "from studio.engine.openvino import Runtime; Runtime()",
        "from studio.environment import prepare; prepare(); import torch; torch._dynamo.lookup_backend('openvino')",
    ],
    ids=["by us", "by torch in search of its backends"],
)
def test_nothing_is_reported_to_the_maker(tmp_path: Path, code: str) -> None:
    told = f"{code}\nimport sys; print('openvino' in sys.modules, sys.modules['openvino_telemetry'])"
    home = {**os.environ, "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", told], cwd=ROOT, env=home, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "None"]
    assert list(tmp_path.glob("intel")) == []
