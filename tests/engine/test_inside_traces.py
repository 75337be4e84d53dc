"""Looking inside a generation changes no byte of it, and leaves nothing behind."""

from __future__ import annotations

import functools
import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from studio.engine import inside as looking
from studio.engine.adapted import adapted_set
from studio.engine.clone import clone_shared
from studio.engine.generate import Generation
from studio.engine.inside import look_inside
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.errors import Cancelled, GenerationFailed
from studio.events import Event, GenerationResult, Step
from studio.types import Family, GenerationRequest, Scheduler, Task

from .conftest import Listener

Requests = Callable[..., GenerationRequest]


def draw(listener: Listener, request: GenerationRequest) -> GenerationResult:
    return Generation(request, inside=True).run(listener)


def plain(listener: Listener, request: GenerationRequest) -> list[bytes]:
    return [image.tobytes() for image in Generation(request).run(listener).images]


@pytest.mark.parametrize("base_id", ["little-world", "sd15", "sdxl"])
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_looking_changes_no_byte(
    listener: Listener, request_for: Requests, base_id: str, guidance_scale: float
) -> None:
    request = request_for(base_id, guidance_scale=guidance_scale, num_images=2)
    result = draw(listener, request)
    assert [image.tobytes() for image in result.images] == plain(listener, request)


def fingerprint(registry: Registry) -> list[Any]:
    """Everything about the shared UNet that a watcher could leave behind."""
    with registry.lease(registry.key("little-world")) as lease:
        unet = lease.components.components["unet"]
        weights = [(name, weight.data_ptr(), weight.dtype, weight.shape) for name, weight in unet.named_parameters()]
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()]
        return [id(unet), weights, hooks, {name: id(one) for name, one in unet.attn_processors.items()}]


class Broken(Listener):
    """Fails at the second step."""

    def emit(self, event: Event) -> None:
        if isinstance(event, Step) and event.index == 2:
            raise GenerationFailed("unexpected", kind="test")


@pytest.mark.parametrize(
    ("make", "error"),
    [(Listener, None), (lambda registry: Listener(registry, stop_after=2), Cancelled), (Broken, GenerationFailed)],
)
def test_the_shared_parts_are_as_before_after_an_end_a_cancel_and_a_failure(
    registry: Registry, request_for: Requests, make: Callable[[Registry], Listener], error: type[BaseException] | None
) -> None:
    before = fingerprint(registry)
    if error is None:
        draw(make(registry), request_for())
    else:
        with pytest.raises(error):
            draw(make(registry), request_for())
    assert fingerprint(registry) == before
    assert sum(before[2]) == 0


def test_another_call_meanwhile_sees_nothing_and_is_not_seen(registry: Registry, request_for: Requests) -> None:
    found: list[Any] = []

    def other() -> None:
        """A call of the same model past the device's lane."""
        with registry.lease(registry.key("little-world")) as lease:
            view = lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM)
            noise = torch.randn((1, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(9))
            found.append(view("一只猫", latents=noise, num_inference_steps=6, output_type="latent").images.tolist())

    other()
    alone, untouched = found.pop(), fingerprint(registry)

    class Interrupted(Listener):
        def emit(self, event: Event) -> None:
            if isinstance(event, Step) and event.index == 2:
                found.append(fingerprint(registry))
                thread = threading.Thread(target=other)
                thread.start()
                thread.join()

    inside = draw(Interrupted(registry), request_for()).inside
    assert found == [untouched, alone]
    assert inside.total_steps == 4


class StandIn:
    """Draws in place of a UNet, a little otherwise, as another backend would."""

    def __init__(self, unet: Any) -> None:
        self._unet = unet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unet, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        (output,) = self._unet(*args, **kwargs)
        return (output * 1.01,)


def as_compiled(unet: Any) -> Any:
    """A UNet one of whose blocks has been compiled."""
    block = unet.mid_block
    object.__setattr__(block, "_compiled_call_impl", lambda *args, **kwargs: block._call_impl(*args, **kwargs) * 1.01)
    return unet


@pytest.mark.parametrize("other", [StandIn, as_compiled])
def test_what_draws_otherwise_goes_on_drawing_while_it_is_watched(
    fresh_registry: Registry, request_for: Requests, other: Callable[[Any], Any]
) -> None:
    request = request_for(scheduler=Scheduler.DDIM)
    side = request.width // 8
    noise = torch.randn((1, 4, side, side), generator=torch.Generator("cpu").manual_seed(1))

    def latents(view: Any) -> torch.Tensor:
        return view(request.prompt, latents=noise, num_inference_steps=2, output_type="latent").images  # type: ignore[no-any-return]

    with fresh_registry.lease(fresh_registry.key("little-world")) as lease:
        unwatched = latents(lease.view(request.task, request.scheduler))
        view = lease.view(request.task, request.scheduler)
        view.unet = changed = other(view.unet)
        expected = latents(view)
        with look_inside(view, request, lease) as look:
            watched = latents(view)
    assert view.unet is changed
    assert torch.equal(watched, expected)
    assert not torch.equal(watched, unwatched)
    assert [frame.index for frame in look.seen().frames] == [1, 2]
    assert len(look.seen().guidance) == 2


class Ends(Exception):
    """An end that a test plants."""


@pytest.mark.parametrize("ends", [False, True])
def test_a_clone_with_adapters_is_watched_itself_and_left_as_it_was(
    registry: Registry, request_for: Requests, ends: bool
) -> None:
    request = request_for(scheduler=Scheduler.DDIM)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(1))

    def weaken(view: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """What a control may do between two steps."""
        if ends:
            raise Ends
        unet.conv_out.forward = lambda x: stock(x) * 0.5
        return {}

    with registry.lease(registry.key("little-world")) as pristine:
        lease = replace(pristine, components=adapted_set(pristine.components, lambda parts: None))
        unet = lease.components.components["unet"]
        stock = unet.conv_out.forward

        def latents() -> list[Any]:
            view = lease.view(request.task, request.scheduler)
            arguments = {"latents": noise, "num_inference_steps": 3, "callback_on_step_end": weaken}
            try:
                with look_inside(view, request, lease) if watched else nullcontext():
                    return view(request.prompt, **arguments, output_type="latent").images.tolist()  # type: ignore[no-any-return]
            except Ends:
                return []
            finally:
                unet.conv_out.forward = stock
                assert view.unet is unet

        watched = False
        expected = latents()
        watched = True
        assert latents() == expected
    assert not any(module._forward_hooks for module in unet.modules())


def test_openvino_goes_on_drawing_while_it_is_watched(
    families: tuple[Family, ...], load: FolderLoader, request_for: Requests
) -> None:
    pytest.importorskip("openvino")
    from studio.engine.backends import OPENVINO, convert
    from studio.engine.openvino import Runtime

    with_graphs = replace(load, convert=functools.partial(convert, Runtime(threads=1)))
    listener = Listener(Registry(families, with_graphs, 10**9))
    result = draw(listener, request_for())
    assert result.backend == OPENVINO
    assert [image.tobytes() for image in result.images] == plain(listener, request_for())
    assert len(result.inside.frames) == len(result.inside.guidance) == 4


def test_the_watched_clone_is_gone_after_the_call(
    listener: Listener, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    clones: list[weakref.ref[Any]] = []

    def counted(module: Any) -> Any:
        clone = clone_shared(module)
        clones.append(weakref.ref(clone))
        return clone

    monkeypatch.setattr(looking, "clone_shared", counted)
    gc.disable()
    try:
        result = draw(listener, request_for())
        assert [one() for one in clones] == [None]
    finally:
        gc.enable()
    assert result.images
