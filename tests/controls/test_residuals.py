"""What ControlNets add is heard step by step, and the two facts about it are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from studio.engine.generate import Generation
from studio.engine.registry import Registry
from studio.engine.residuals import ControlChecks, ResidualWatch
from studio.errors import InvalidInput
from studio.types import GenerationRequest, PipelineKey
from tests.controls.test_controlnet import use
from tests.engine.conftest import Listener

Requests = Callable[..., GenerationRequest]
STEPS = 3


def hooks(registry: Registry, model_id: str) -> int:
    with registry.lease(PipelineKey(model_id)) as lease:
        return len(lease.components.components["controlnet"]._forward_hooks)


def heard(registry: Registry, request: GenerationRequest) -> Any:
    return ResidualWatch(request).run(Listener(registry))


@pytest.mark.parametrize("base", ["little-world", "sd15"])
def test_every_zero_convolution_is_heard_at_every_step(registry: Registry, request_for: Requests, base: str):
    request = request_for(base, num_inference_steps=STEPS, controls=(use("depth", base),))
    found = heard(registry, request)
    (unit,) = found.units
    assert np.array(unit).shape == (STEPS, len(found.names))
    assert found.names[0] == "down 0" and found.names[-1] == "mid"
    assert (np.array(unit) > 0).any()
    assert hooks(registry, request.controls[0].model_id) == 0


def test_what_is_heard_grows_with_the_scale_and_ends_with_the_unit(registry: Registry, request_for: Requests):
    request = request_for("sd15", num_inference_steps=4, controls=(use("depth", "sd15", end=0.5),))
    half = replace(request, controls=(replace(request.controls[0], scale=0.5),))
    (whole,), (less,) = (np.array(heard(registry, one).units) for one in (request, half))
    assert less[0] == pytest.approx(whole[0] / 2, rel=1e-3)
    assert whole[0].any() and not whole[-1].any()


def test_two_units_of_one_model_are_told_apart(registry: Registry, request_for: Requests):
    pair = (use("depth"), use("depth", scale=0.0))
    loud, silent = heard(registry, request_for("little-world", controls=pair)).units
    assert np.array(loud).any() and not np.array(silent).any()


def test_listening_changes_no_picture(registry: Registry, request_for: Requests):
    request = request_for("little-world", controls=(use("pose"),))
    before = Generation(request).run(Listener(registry)).images[0]
    heard(registry, request)
    assert Generation(request).run(Listener(registry)).images[0].tobytes() == before.tobytes()


@pytest.mark.parametrize("kinds", [("depth",), ("canny", "pose")])
def test_both_facts_hold(registry: Registry, request_for: Requests, kinds: tuple[str, ...]):
    request = request_for("sd15", controls=tuple(use(kind, "sd15") for kind in kinds))
    lights = ControlChecks(request).run(Listener(registry))
    assert [(light.id, light.holds) for light in lights] == [("scale_zero", True), ("units_add_up", True)]


@pytest.mark.parametrize("work", [ResidualWatch, ControlChecks])
def test_without_a_unit_there_is_nothing_to_try(registry: Registry, request_for: Requests, work: Any):
    with pytest.raises(InvalidInput) as refused:
        work(request_for("little-world")).run(Listener(registry))
    assert refused.value.key == "no_unit_on"
