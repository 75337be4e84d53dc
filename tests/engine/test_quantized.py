"""Quantized variants of a model: sets of their own that share what is not quantized, and draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from studio.engine.calibration import Call, Calls
from studio.engine.generate import Generation
from studio.engine.images import png_bytes
from studio.engine.infotext import read, write
from studio.engine.loaders import FolderLoader
from studio.engine.memory import storages
from studio.engine.registry import Registry
from studio.engine.strengths import difference
from studio.errors import InvalidInput
from studio.quant.methods import METHODS
from studio.quant.quantizers import Quantizers
from studio.types import ControlUse, Family, GenerationRequest, Task

from .conftest import LIMIT_BYTES, Listener

SIDE = 64


class Few(Quantizers):
    """The studio's methods, calibrated in a moment."""

    prompts = ("a red house",)


@pytest.fixture(scope="module")
def quantizing(families: tuple[Family, ...], load: FolderLoader) -> Registry:
    return Registry(families, load, LIMIT_BYTES, quantizers=Few(METHODS))


def wish(quant_id: str = "none", **values: Any) -> GenerationRequest:
    own = {"width": SIDE, "height": SIDE, "num_inference_steps": 3, "guidance_scale": 3.0, "seed": 7}
    return GenerationRequest("little-world", "a red house", quant_id=quant_id, **{**own, **values})


def drawn(registry: Registry, request: GenerationRequest):
    return Generation(request).run(Listener(registry))


def test_a_variant_shares_everything_but_the_unet(quantizing: Registry):
    plain, half = quantizing.key("little-world"), quantizing.key("little-world", "bf16")
    with quantizing.lease_all([plain, half]) as (base, variant):
        for name in ("vae", "text_encoder"):
            assert variant.components.components[name] is base.components.components[name]
        own, others = (set(storages([one.components.components["unet"]])) for one in (base, variant))
        assert not own & others
    held = {one.key: one for one in quantizing.snapshot().resident}
    assert held[half].own_bytes < held[plain].bytes
    assert "unet" not in variant.components.parts_sha256


def test_in_full_precision_a_variant_costs_nothing_and_draws_the_same_bytes(quantizing: Registry):
    whole = drawn(quantizing, wish("fp32"))
    assert whole.images[0].tobytes() == drawn(quantizing, wish()).images[0].tobytes()
    held = {one.key.quant_id: one for one in quantizing.snapshot().resident}
    assert held["fp32"].own_bytes == 0


@pytest.mark.parametrize(("quant_id", "backend"), [("bf16", "torch"), ("openvino_int8", "openvino"), ("mse", "torch")])
def test_a_quantized_picture_is_near_and_not_the_same(quantizing: Registry, quant_id: str, backend: str):
    plain, quantized = drawn(quantizing, wish()), drawn(quantizing, wish(quant_id))
    assert 0 < difference(plain.images[0], quantized.images[0]) < 40
    assert quantized.backend == backend and quantized.notes == ()


def test_a_variant_draws_from_pictures_too(quantizing: Registry):
    source = drawn(quantizing, wish()).images[0]
    request = wish("bf16", task=Task.IMAGE_TO_IMAGE, init_image=source, strength=0.7)
    assert drawn(quantizing, request).images[0].size == (SIDE, SIDE)


def test_every_way_to_write_a_variant_is_one_set(quantizing: Registry):
    assert quantizing.key("little-world", "mse") == quantizing.key("little-world", "mse-w8a8")


@pytest.mark.parametrize(
    ("quant_id", "key"),
    [
        ("mse-w9a8", "bad_whole_number"),
        ("mse-w8a1", "bad_whole_number"),
        ("gguf", "not_a_choice"),
        ("", "bad_quant_id"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_loaded(quantizing: Registry, quant_id: str, key: str):
    misses = quantizing.snapshot().misses
    with pytest.raises(InvalidInput) as raised:
        drawn(quantizing, wish(quant_id))
    assert raised.value.key == key
    assert quantizing.snapshot().misses == misses


def test_a_quantized_model_takes_no_controls(quantizing: Registry):
    request = replace(wish("bf16"), controls=(ControlUse("canny", "x"),))
    with pytest.raises(InvalidInput) as raised, quantizing.lease_for(request):
        pass
    assert raised.value.key == "quant_no_controls"


def test_a_model_that_the_method_cannot_take_is_refused_and_the_next_works(quantizing: Registry):
    with pytest.raises(InvalidInput) as raised:
        drawn(quantizing, replace(wish("openvino_int8"), base_id="sdxl"))
    assert raised.value.key == "quant_cannot.other_network"
    assert drawn(quantizing, wish("bf16")).images


def test_without_methods_only_the_plain_model_is_known(registry: Registry):
    with pytest.raises(InvalidInput) as raised:
        registry.key("little-world", "bf16")
    assert raised.value.values["choices"] == "none"


def test_calls_are_recorded_when_they_are_looked_at_and_once():
    walks = []

    def record() -> list[Call]:
        walks.append(1)
        return [((index,), {}) for index in range(4)]

    calls: Sequence[Call] = Calls(record)
    assert walks == []
    assert (
        len(calls) == 4 and calls[2] == ((2,), {}) and calls[1:3] == [((1,), {}), ((2,), {})] and len(list(calls)) == 4
    )
    assert walks == [1]


def test_a_calibration_goes_over_the_whole_walk(quantizing: Registry):
    from studio.engine.calibration import calls_of

    with quantizing.lease(quantizing.key("little-world")) as lease:
        calls = calls_of(lease.components, lease.family, ("a", "b"))
    times = [float(args[1]) for args, _ in calls]
    steps = lease.spec.defaults.num_inference_steps
    assert len(calls) == 2 * steps + 1
    assert max(times) > 950 and min(times) < 100
    assert times[:steps] == sorted(times[:steps], reverse=True)
    assert len(set(times)) > 1.5 * steps  # walks of two lengths meet at few times


def test_a_picture_says_how_it_was_quantized(quantizing: Registry):
    result = drawn(quantizing, wish("bf16"))
    data = png_bytes(result.images[0], write(result.request, result.model_sha256, backend=result.backend))
    restored = read(data, ["little-world"])
    assert restored.values["quant_id"] == "bf16"
    assert [problem.key for problem in restored.problems] == ["picture_quantized"]
