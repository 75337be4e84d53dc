"""A request's controls: what they are given and in which order, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

from studio.engine.generate import Generation, generate
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.engine.steering import joined
from studio.errors import InvalidInput
from studio.types import Control, ControlUse, Family, GenerationRequest, PipelineKey, Task
from tests.tiny import NATIVE_SIZE

from .conftest import Listener
from .steered import EDGES, LORAS, AdapterLoader, as_it_is, spec, steered_registry

Requests = Callable[..., GenerationRequest]


@pytest.fixture(scope="module")
def loader(load: FolderLoader, tmp_path_factory: pytest.TempPathFactory) -> AdapterLoader:
    return AdapterLoader(load, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def registry(families: tuple[Family, ...], loader: AdapterLoader) -> Registry:
    return steered_registry(families, loader)


@pytest.fixture
def wish(request_for: Requests) -> Callable[..., GenerationRequest]:
    def make(*uses: ControlUse, **changes: Any) -> GenerationRequest:
        return request_for("sd15", num_inference_steps=1, controls=uses, **changes)

    return make


def draw(registry: Registry, request: GenerationRequest) -> None:
    Generation(request).run(Listener(registry))


def traced() -> ControlUse:
    return ControlUse("edges", "net-a", (Image.new("RGB", (NATIVE_SIZE, NATIVE_SIZE), "white"),))


@contextmanager
def recorded(view: Any, sets: Any, uses: Any) -> Iterator[Mapping[str, Any]]:
    yield {}


def test_what_is_put_on_a_clone_does_not_depend_on_the_order_of_a_request(
    families: tuple[Family, ...], loader: AdapterLoader, wish: Requests
) -> None:
    adapted: list[list[str]] = []
    patched: list[list[tuple[str, float]]] = []

    def adapt(parts: Any, sets: Any, uses: Any) -> None:
        adapted.append([use.model_id for use in uses])
        assert [one.spec.id for one in sets] == adapted[-1]

    @contextmanager
    def patch(view: Any, sets: Any, uses: Any) -> Iterator[Mapping[str, Any]]:
        patched.append([(use.model_id, use.scale) for use in uses])
        assert [one.spec.id for one in sets] == [use.model_id for use in uses]
        yield {}

    control = Control("noted", LORAS, (), as_it_is, adapt, patch)
    registry = steered_registry(families, loader, control)
    a, b = (ControlUse("noted", name, scale=scale) for name, scale in (("lora-a", 0.1), ("lora-b", 0.2)))
    again = ControlUse("noted", "lora-a", scale=0.3)
    draw(registry, wish(a, b, again))
    draw(registry, wish(b, a))
    order = sorted(LORAS, key=lambda one: loader(one, PipelineKey(one.id)).sha256)
    scales = {"lora-a": [0.1, 0.3], "lora-b": [0.2]}
    assert adapted == [[one.id for one in order]]
    assert patched[0] == [(one.id, scale) for one in order for scale in scales[one.id]]
    assert [name for name, _ in patched[1]] == adapted[0]


@pytest.mark.parametrize(
    ("use", "key"),
    [
        (ControlUse("magic", "lora-a"), "not_a_choice"),
        (ControlUse("lora", "no-such-file"), "not_a_choice"),
        (ControlUse("lora", "ip"), "not_for_this_control"),
        (ControlUse("lora", "sd15"), "not_for_this_control"),
        (ControlUse("lora", "of-another"), "of_another_family"),
    ],
)
def test_a_control_that_does_not_fit_is_refused_by_name(
    registry: Registry, wish: Requests, use: ControlUse, key: str
) -> None:
    registry.admit(spec("of-another", "lora", family="sdxl"))
    with pytest.raises(InvalidInput) as caught:
        draw(registry, wish(use))
    assert (caught.value.key, caught.value.values["field"]) == (key, "controls")
    assert str(caught.value)


def test_a_family_without_controlnets_says_so(registry: Registry, wish: Requests) -> None:
    picture, mask = (Image.new(mode, (NATIVE_SIZE, NATIVE_SIZE)) for mode in ("RGB", "L"))
    with pytest.raises(InvalidInput) as caught:
        draw(registry, wish(traced(), task=Task.INPAINT, init_image=picture, mask=mask))
    assert caught.value.key == "not_with_this_model"


def test_a_control_prepares_its_uses_before_anything_is_loaded(
    families: tuple[Family, ...], loader: AdapterLoader, wish: Requests
) -> None:
    def refuse(use: ControlUse, request: GenerationRequest) -> ControlUse:
        raise InvalidInput("needs_image", field="controls")

    control = Control("picky", EDGES.specs, (), refuse, None, recorded)
    registry = steered_registry(families, loader, control)
    with pytest.raises(InvalidInput):
        draw(registry, wish(ControlUse("picky", "net-a")))
    assert registry.snapshot().resident == ()


def test_a_controls_own_words_about_a_bad_adapter_are_told(
    families: tuple[Family, ...], loader: AdapterLoader, wish: Requests
) -> None:
    def refuse(parts: Any, sets: Any, uses: Any) -> None:
        raise InvalidInput("needs_image", field="style")

    control = Control("picky", LORAS, (), as_it_is, refuse, recorded)
    with pytest.raises(InvalidInput) as caught:
        draw(steered_registry(families, loader, control), wish(ControlUse("picky", "lora-a")))
    assert (caught.value.key, caught.value.values) == ("needs_image", {"field": "style"})


def test_a_request_with_controls_is_not_drawn_without_them(registry: Registry, wish: Requests) -> None:
    with registry.lease(registry.key("sd15")) as lease, pytest.raises(ValueError, match="lease_for"):
        generate(wish(ControlUse("lora", "lora-a")), lease, Listener(registry))


def test_what_one_control_gives_stays_as_it_is() -> None:
    assert joined([{"image": [1, 2]}, {"scale": 3}]) == {"image": [1, 2], "scale": 3}


def test_what_several_controls_give_becomes_one_list_in_their_order() -> None:
    assert joined([{"image": 1, "scale": 0.5}, {"image": [2, 3], "scale": 1.0}]) == {
        "image": [1, 2, 3],
        "scale": [0.5, 1.0],
    }


def test_mappings_of_several_controls_become_one() -> None:
    given = [{"cross_attention_kwargs": {"a": 1}}, {"cross_attention_kwargs": {"b": 2}}]
    assert joined(given) == {"cross_attention_kwargs": {"a": 1, "b": 2}}
    with pytest.raises(ValueError, match="'a'"):
        joined([*given, {"cross_attention_kwargs": {"a": 3}}])
