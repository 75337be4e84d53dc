"""A ControlNet in a view: no work twice, by whatever draws, and not a bit of the picture changes in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.controls import depth
from studio.engine import openvino
from studio.engine.backends import convert
from studio.engine.controlnets import of_one_view
from studio.engine.generate import Generation, generate
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.errors import ModelUnavailable
from studio.events import GenerationResult
from studio.types import Control, ControlUse, Family, GenerationRequest, Precision, Source
from tests.tiny import NATIVE_SIZE
from tests.tiny_adapters import make_controlnet

from .conftest import LIMIT_BYTES, Listener
from .steered import EDGES, with_controlnets

Requests = Callable[..., GenerationRequest]
MAP = Image.effect_noise((NATIVE_SIZE, NATIVE_SIZE), 80).convert("RGB")
OTHER = Image.effect_noise((NATIVE_SIZE, NATIVE_SIZE), 20).convert("RGB")


@pytest.fixture(scope="module")
def control(models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Control:
    """Two ControlNets for the tiny Stable Diffusion 1.5, on disk."""
    root = tmp_path_factory.mktemp("nets")
    for seed, spec in enumerate(EDGES.specs):
        make_controlnet(models_root / "sd15", seed, strength=0.05).save_pretrained(root / spec.id)
    specs = (replace(spec, sources=(Source("local", str(root / spec.id)),)) for spec in EDGES.specs)
    return replace(depth.CONTROL, specs=tuple(specs))


def registry_of(families: tuple[Family, ...], control: Control, loader: FolderLoader) -> Registry:
    return Registry(with_controlnets(families), loader, 2 * LIMIT_BYTES, controls={control.id: control})


@pytest.fixture(scope="module")
def plain(families: tuple[Family, ...], control: Control, load: FolderLoader) -> Registry:
    return registry_of(families, control, load)


@pytest.fixture(scope="module")
def fast(families: tuple[Family, ...], control: Control, models_root: Path) -> Registry:
    """Drawn by OpenVINO."""
    pytest.importorskip("openvino", reason="pip install -r requirements.txt brings it")
    from studio.engine.openvino import Runtime

    return registry_of(families, control, FolderLoader(models_root, convert=partial(convert, Runtime(threads=1))))


def use(name: str = "net-a", picture: Image.Image = MAP, **changes: Any) -> ControlUse:
    return ControlUse("depth", name, (picture,), **changes)


def draw(registry: Registry, request: GenerationRequest) -> GenerationResult:
    return Generation(request).run(Listener(registry))


def pixels(result: GenerationResult) -> np.ndarray:
    return np.asarray(result.images[0]).astype(int)


def inputs(batch: int = 2) -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    return {
        "sample": torch.randn(batch, 4, 8, 8, generator=g),
        "timestep": torch.tensor(400),
        "encoder_hidden_states": torch.randn(batch, 7, 32, generator=g),
        "controlnet_cond": torch.rand(batch, 3, 64, 64, generator=g),
        "return_dict": False,
    }


def test_its_residuals_are_the_shared_ones_bit_by_bit(models_root: Path) -> None:
    shared = make_controlnet(models_root / "sd15")
    own = of_one_view(shared, lambda network: None)
    with torch.no_grad():
        for scale in (1.0, 0.3):
            expected, found = (one(**inputs(), conditioning_scale=scale) for one in (shared, own))
            assert all(a.equal(b) for a, b in zip([*found[0], found[1]], [*expected[0], expected[1]], strict=True))
    assert type(own) is type(shared)


def test_a_map_is_embedded_once_and_another_one_anew(models_root: Path) -> None:
    shared, seen = make_controlnet(models_root / "sd15"), []
    own = of_one_view(shared, lambda network: None)
    shared.controlnet_cond_embedding.register_forward_hook(lambda *call: seen.append(call))
    with torch.no_grad():
        given = inputs()
        for _ in range(3):
            own(**given)
        assert len(seen) == 1
        own(**{**given, "controlnet_cond": given["controlnet_cond"].clone()})
        assert len(seen) == 2


def test_at_a_scale_of_zero_nothing_is_computed(models_root: Path) -> None:
    shared = make_controlnet(models_root / "sd15")
    shared.conv_in.register_forward_hook(lambda *call: pytest.fail("it was computed"))
    down, mid = of_one_view(shared, lambda network: None)(**inputs(), conditioning_scale=0.0)
    assert len(down) == len(shared.controlnet_down_blocks)
    assert not any(one.any() for one in (*down, mid))


def test_nothing_stays_on_the_shared_network(models_root: Path) -> None:
    shared = make_controlnet(models_root / "sd15")
    parts, attributes = dict(shared._modules), set(vars(shared))
    of_one_view(shared, lambda network: None)
    assert shared._modules == parts
    assert set(vars(shared)) == attributes


@pytest.mark.parametrize("units", [(use(),), (use(), use("net-zero", OTHER)), (use(), use(picture=OTHER, scale=0.5))])
def test_openvino_draws_what_pytorch_draws(
    plain: Registry, fast: Registry, request_for: Requests, units: tuple[ControlUse, ...]
) -> None:
    request = request_for("sd15", controls=units)
    own, stock = draw(fast, request), draw(plain, request)
    assert own.backend == "openvino"
    assert np.abs(pixels(own) - pixels(stock)).max() <= 2
    assert np.abs(pixels(own) - pixels(draw(fast, request_for("sd15")))).max() > 2


@pytest.mark.parametrize("precision", Precision)
def test_a_scale_of_zero_is_the_base_in_openvino_too(
    fast: Registry, request_for: Requests, precision: Precision
) -> None:
    changes = {"precision": precision}
    off = draw(fast, request_for("sd15", controls=(use(scale=0.0), use("net-zero", OTHER, scale=0.0)), **changes))
    assert (pixels(off) == pixels(draw(fast, request_for("sd15", **changes)))).all()


def test_outside_of_its_steps_a_unit_costs_nothing(fast: Registry, request_for: Requests) -> None:
    calls: list[int] = []
    stock = openvino.ManyCall.all

    def counted(self: Any, *given: torch.Tensor) -> list[torch.Tensor]:
        calls.append(1)
        return stock(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino.ManyCall, "all", counted)
        draw(fast, request_for("sd15", controls=(use(end=0.5),), num_inference_steps=4))
    assert len(calls) == 2


def test_a_graph_without_room_leaves_it_to_pytorch(fast: Registry, plain: Registry, request_for: Requests) -> None:
    request = request_for("sd15", controls=(use(),), width=96, height=96)
    request = replace(request, controls=(use(picture=MAP.resize((96, 96))),))

    def refuse(*given: object) -> None:
        raise ModelUnavailable("no_room", model="x", needed="1", limit="0")

    with fast.lease_for(request) as lease:
        full = replace(lease, bills=dict.fromkeys(lease.bills, refuse))
        drawn = generate(request, full, Listener(fast))
    assert np.abs(pixels(drawn) - pixels(draw(plain, request))).max() <= 2


def test_what_is_added_is_told_step_by_step(plain: Registry, fast: Registry, request_for: Requests) -> None:
    request = request_for("sd15", controls=(use(end=0.5),), num_inference_steps=4)
    told = []
    for registry in (plain, fast):
        watched = Generation(request, inside=True).run(Listener(registry))
        assert watched.images[0].tobytes() == draw(registry, request).images[0].tobytes()
        told.append(np.array(watched.inside.residuals))
    norms, by_openvino = told
    assert norms.shape == (4, 1 + len(zero_convolutions(plain, request)))
    assert (norms[:2] > 0).all()
    assert (norms[2:] == 0).all()
    np.testing.assert_allclose(norms, by_openvino, rtol=1e-3, atol=1e-5)
    assert Generation(request_for("sd15"), inside=True).run(Listener(plain)).inside.residuals == ()


def zero_convolutions(registry: Registry, request: GenerationRequest) -> Any:
    """The zero convolutions of the request's only ControlNet, but for that of the middle."""
    with registry.lease_for(request) as lease:
        (one,) = lease.steering.acting_controls[0].sets
        return one.components["controlnet"].controlnet_down_blocks
