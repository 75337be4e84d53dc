"""The facts about references hold on tiny models, and turn red where one of them does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from studio.engine import reference_lights as tried
from studio.engine.reference_lights import ReferenceLights
from studio.engine.registry import Registry
from studio.errors import InvalidInput
from studio.types import GenerationRequest
from tests.controls.test_ip_adapter import BASES, folder, noise, registry, use

from .conftest import Listener

__all__ = ["folder", "registry"]
Requests = Callable[..., GenerationRequest]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("count", [1, 2])
def test_all_three_hold(registry: Registry, request_for: Requests, base: str, count: int):
    request = request_for(base, controls=(use(base, *map(noise, range(count)), scale=0.4, start=0.5),), num_images=2)
    found = ReferenceLights(request).run(Listener(registry))
    assert {light.id: light.holds for light in found} == {
        "references_off": True,
        "references_affine": True,
        "references_text": True,
    }


def test_a_scale_that_never_goes_off_turns_red(
    registry: Registry, request_for: Requests, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tried, "SCALES", (0.1, 0.5, 1.0))
    off, *_ = ReferenceLights(request_for(controls=(use(),))).run(Listener(registry))
    assert not off.holds and off.values["count"] > 0


def test_a_scale_that_bends_turns_red(registry: Registry, request_for: Requests, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tried, "SCALES", (0.0, 0.2, 1.0))
    _, affine, _ = ReferenceLights(request_for(controls=(use(),))).run(Listener(registry))
    assert not affine.holds


def test_a_text_that_says_the_same_turns_red(registry: Registry, request_for: Requests):
    *_, text = ReferenceLights(request_for(prompt="", controls=(use(),))).run(Listener(registry))
    assert not text.holds


def test_a_call_leaves_the_model_to_the_next(registry: Registry, request_for: Requests):
    work: Any = ReferenceLights(request_for(controls=(use(),)))
    assert work.run(Listener(registry)) == work.run(Listener(registry))


def test_without_references_it_is_refused(registry: Registry, request_for: Requests):
    with pytest.raises(InvalidInput, match="reference_1"):
        ReferenceLights(request_for()).run(Listener(registry))
