"""Whatever one request hangs on a model, the next one never sees: each known leak of diffusers, tried on purpose.

A leak would show in one of two ways. The fingerprint of a pristine model is the names, shapes, dtypes and addresses of
all its tensors, its processors and settings; and the picture of a plain request is compared byte by byte.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine import generate as generating
from studio.engine.generate import Generation
from studio.engine.loaders import ComponentSet, FolderLoader
from studio.engine.registry import Registry
from studio.errors import Cancelled, GenerationFailed, StudioError
from studio.settings import ROOT
from studio.types import Control, ControlUse, Family, GenerationRequest, Scheduler

from .conftest import Listener
from .fingerprint import fingerprint
from .steered import LORAS, AdapterLoader, as_it_is, put_loras, steered_registry, stock

Requests = Callable[..., GenerationRequest]
Act = Callable[[Mapping[str, Any], list[ComponentSet]], None]
LORA = ControlUse("lora", "lora-a", scale=0.6)
OTHER_LORA = ControlUse("lora", "lora-b", scale=0.9)
IP = ControlUse("ip", "ip", (Image.new("RGB", (32, 32), "red"),), scale=0.6)
EDGES = ControlUse("edges", "net-a", (Image.new("RGB", (64, 64), "white"),), scale=0.8)


@pytest.fixture(scope="module")
def loader(load: FolderLoader, tmp_path_factory: pytest.TempPathFactory) -> AdapterLoader:
    return AdapterLoader(load, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def registry(families: tuple[Family, ...], loader: AdapterLoader) -> Registry:
    return steered_registry(families, loader)


@pytest.fixture
def wish(request_for: Requests) -> Requests:
    def make(*uses: ControlUse, **changes: Any) -> GenerationRequest:
        return request_for("sd15", **{"num_inference_steps": 2, **changes}, controls=uses)

    return make


def draw(registry: Registry, request: GenerationRequest, stop_after: int | None = None) -> np.ndarray:
    return np.asarray(Generation(request).run(Listener(registry, stop_after)).images[0])


@pytest.fixture
def untouched(registry: Registry, wish: Requests) -> Iterator[None]:
    """Around a test: the pristine model, and the picture it draws, are the same before and after."""
    plain = draw(registry, wish())
    with registry.lease(registry.key("sd15")) as lease:
        before = fingerprint(lease.components)
    yield
    with registry.lease(registry.key("sd15")) as lease:
        assert fingerprint(lease.components) == before
    np.testing.assert_array_equal(draw(registry, wish()), plain)
    assert torch.is_grad_enabled()
    assert all(one.leases == 0 for one in registry.snapshot().resident)


def adapting(registry: Registry, act: Act) -> ControlUse:
    """Let a new control do something to its clone."""
    name = f"control-{len(registry.controls)}"

    def adapt(parts: Mapping[str, Any], sets: Any, uses: Any) -> None:
        act(parts, list(sets))

    @contextlib.contextmanager
    def patch(view: Any, sets: Any, uses: Any) -> Iterator[Mapping[str, Any]]:
        yield {}

    registry.controls = {**registry.controls, name: Control(name, LORAS, (), as_it_is, adapt, patch)}
    return ControlUse(name, LORAS[len(registry.controls) % 2].id)


@pytest.mark.parametrize("uses", [(LORA,), (IP,), (EDGES,), (LORA, OTHER_LORA, IP, EDGES)], ids=len)
def test_adapters_leave_the_pristine_model(
    registry: Registry, wish: Requests, untouched: None, uses: tuple[ControlUse, ...]
) -> None:
    draw(registry, wish(*uses))


@pytest.mark.parametrize("uses", [(LORA,), (IP,), (EDGES,), (LORA, IP, EDGES)], ids=len)
def test_a_cancel_in_mid_run_leaves_no_trace(
    registry: Registry, wish: Requests, untouched: None, uses: tuple[ControlUse, ...]
) -> None:
    alone = draw(registry, wish(*uses))
    with pytest.raises(Cancelled):
        draw(registry, wish(*uses, num_inference_steps=6, seed=3), stop_after=1)
    np.testing.assert_array_equal(draw(registry, wish(*uses)), alone)


@pytest.mark.parametrize("error", [ValueError("boom"), torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_an_error_in_mid_run_leaves_no_trace(
    registry: Registry, wish: Requests, untouched: None, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    alone = draw(registry, wish(LORA, IP))
    with monkeypatch.context() as patched:
        patched.setattr(generating, "decode", fail)
        with pytest.raises((ValueError, GenerationFailed)):
            draw(registry, wish(LORA, IP))
    np.testing.assert_array_equal(draw(registry, wish(LORA, IP)), alone)


def test_strengths_do_not_linger_on_a_clone(registry: Registry, wish: Requests, untouched: None) -> None:
    uses = [ControlUse("lora", "lora-a", scale=scale) for scale in (0.5, 0.0, 0.3)]
    alone = {use.scale: draw(registry, wish(use)) for use in uses}
    for use in (*uses[::-1], uses[0], uses[1], uses[0]):
        np.testing.assert_array_equal(draw(registry, wish(use)), alone[use.scale])


def test_an_unknown_adapter_in_between_leaves_a_clone_as_it_was(
    registry: Registry, wish: Requests, untouched: None
) -> None:
    alone = draw(registry, wish(LORA))
    draw(registry, wish(OTHER_LORA))
    draw(registry, wish(LORA, OTHER_LORA, IP))
    np.testing.assert_array_equal(draw(registry, wish(LORA)), alone)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda parts: stock(parts).enable_freeu(0.9, 0.2, 1.2, 1.4), id="freeu"),
        pytest.param(lambda parts: stock(parts).enable_attention_slicing(1), id="attention slicing"),
        pytest.param(lambda parts: parts["vae"].enable_slicing(), id="vae slicing"),
        pytest.param(lambda parts: parts["vae"].enable_tiling(), id="vae tiling"),
        pytest.param(lambda parts: parts["unet"].fuse_qkv_projections(), id="fused qkv"),
        pytest.param(lambda parts: parts["unet"].to(torch.bfloat16).to(torch.float32), id="dtype"),
        pytest.param(lambda parts: parts["text_encoder"].resize_token_embeddings(300), id="embeddings"),
        pytest.param(lambda parts: parts["tokenizer"].add_tokens(["<mine>"]), id="tokens"),
        pytest.param(lambda parts: parts["unet"].requires_grad_(True), id="gradients"),
        pytest.param(lambda parts: parts["unet"].register_forward_hook(lambda *of: None), id="hook"),
        pytest.param(lambda parts: parts["unet"].register_to_config(encoder_hid_dim_type="x"), id="config"),
    ],
)
def test_what_a_control_switches_on_stays_on_its_clone(
    registry: Registry, wish: Requests, untouched: None, act: Callable[[Any], None]
) -> None:
    use = adapting(registry, lambda parts, sets: act(parts))
    with contextlib.suppress(StudioError, RuntimeError, ValueError), registry.lease_for(wish(use)):
        pass


def test_textual_inversion_stays_on_its_clone(registry: Registry, wish: Requests, untouched: None) -> None:
    def invert(parts: Mapping[str, Any], sets: list[ComponentSet]) -> None:
        dims = parts["text_encoder"].config.hidden_size
        stock(parts).load_textual_inversion({"<mine>": torch.full((dims,), 5.0)}, token="<mine>")
        assert "<mine>" in parts["tokenizer"].get_vocab()

    draw(registry, wish(adapting(registry, invert), prompt="<mine>"))


def test_an_adapter_that_fails_half_way_is_told_and_nothing_stays(
    registry: Registry, wish: Requests, untouched: None
) -> None:
    def half(parts: Mapping[str, Any], sets: list[ComponentSet]) -> None:
        put_loras(parts, sets, [])
        raise RuntimeError("size mismatch")

    with pytest.raises(StudioError) as caught:
        draw(registry, wish(adapting(registry, half)))
    assert caught.value.key == "load_failed"
    assert not [one for one in registry.snapshot().resident if one.loading]


def test_a_patch_that_cannot_undo_itself_costs_its_clone(registry: Registry, wish: Requests, untouched: None) -> None:
    @contextlib.contextmanager
    def sticky(view: Any, sets: Any, uses: Any) -> Iterator[Mapping[str, Any]]:
        assert not hasattr(view.unet, "stuck")
        view.unet.stuck = True
        yield {}
        raise RuntimeError("cannot undo")

    registry.controls = {**registry.controls, "sticky": Control("sticky", LORAS, (), as_it_is, put_loras, sticky)}
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot undo"):
            draw(registry, wish(ControlUse("sticky", "lora-b")))


def test_every_patch_is_left_when_a_later_one_cannot_be_entered(
    registry: Registry, wish: Requests, untouched: None
) -> None:
    left: list[str] = []

    @contextlib.contextmanager
    def good(view: Any, sets: Any, uses: Any) -> Iterator[Mapping[str, Any]]:
        try:
            yield {}
        finally:
            left.append("good")

    @contextlib.contextmanager
    def bad(view: Any, sets: Any, uses: Any) -> Iterator[Mapping[str, Any]]:
        raise ValueError("no picture")
        yield {}

    made = {name: Control(name, LORAS, (), as_it_is, None, patch) for name, patch in (("1", good), ("2", bad))}
    registry.controls = {**registry.controls, **made}
    with pytest.raises(ValueError, match="no picture"):
        draw(registry, wish(ControlUse("1", "lora-a"), ControlUse("2", "lora-a")))
    assert left == ["good"]


def test_a_controlnet_can_be_made_of_a_model_that_drew_with_a_lora(
    registry: Registry, wish: Requests, untouched: None
) -> None:
    from diffusers import ControlNetModel

    draw(registry, wish(LORA))
    with registry.lease(registry.key("sd15")) as lease:
        ControlNetModel.from_unet(lease.components.components["unet"])


def test_a_model_that_drew_with_a_lora_is_saved_as_it_was(
    registry: Registry, wish: Requests, untouched: None, tmp_path: Path, models_root: Path
) -> None:
    from safetensors.torch import load_file

    draw(registry, wish(LORA))
    with registry.lease(registry.key("sd15")) as lease:
        lease.components.components["unet"].save_pretrained(tmp_path)
    files = [next(folder.glob("*.safetensors")) for folder in (tmp_path, models_root / "sd15" / "unet")]
    saved, original = map(load_file, files)
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[name], original[name]) for name in saved)


def test_nothing_in_the_studio_fuses_adapters_into_shared_weights() -> None:
    calls = [path for path in (ROOT / "studio").rglob("*.py") if "fuse_lora(" in path.read_text(encoding="utf-8")]
    assert calls == []


def test_a_picture_takes_nothing_from_torchs_own_random_numbers(
    registry: Registry, wish: Requests, untouched: None
) -> None:
    draw(registry, wish(LORA, IP, EDGES))
    before = torch.random.get_rng_state()
    draw(registry, wish(LORA, IP, EDGES))
    draw(registry, wish())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_direct_calls_are_drawn_one_at_a_time_and_each_as_alone(
    registry: Registry, wish: Requests, untouched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, most = 0, 0
    counting = threading.Lock()
    requests = [
        wish(*uses, seed=seed, guidance_scale=guidance, scheduler=scheduler)
        for seed, (uses, guidance, scheduler) in enumerate(
            [
                ((), 1.0, Scheduler.DDIM),
                ((LORA,), 4.0, Scheduler.EULER),
                ((), 7.0, Scheduler.DPMPP_2M),
                ((IP,), 3.0, Scheduler.UNIPC),
                ((ControlUse("lora", "lora-a", scale=0.1),), 4.0, Scheduler.DDIM),
                ((EDGES,), 2.0, Scheduler.EULER),
            ]
        )
    ]
    alone = [draw(registry, request) for request in requests]
    draw_alone = generating._draw

    def counted(*arguments: Any) -> Any:
        nonlocal inside, most
        with counting:
            inside += 1
            most = max(most, inside)
        try:
            return draw_alone(*arguments)
        finally:
            with counting:
                inside -= 1

    monkeypatch.setattr(generating, "_draw", counted)
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda request: draw(registry, request), requests))
    assert most == 1
    for mine, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(mine, expected)
