"""A sweep over scales draws the same noise with more and more of one control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studio.engine.generate import Generation
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.engine.scales import ScaleSweep
from studio.errors import Cancelled, InvalidInput
from studio.events import Row, Step
from studio.types import ControlUse, Family, GenerationRequest
from tests.tiny import NATIVE_SIZE

from .conftest import Listener
from .steered import AdapterLoader, steered_registry

Requests = Callable[..., GenerationRequest]
MAP = Image.effect_noise((NATIVE_SIZE, NATIVE_SIZE), 80).convert("RGB")
UNITS = (ControlUse("lora", "lora-a", scale=0.7), ControlUse("edges", "net-a", (MAP,)))


@pytest.fixture(scope="module")
def steered(families: tuple[Family, ...], load: FolderLoader, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return steered_registry(families, AdapterLoader(load, Path(tmp_path_factory.mktemp("adapters"))))


def brightness(picture: Image.Image) -> dict[str, float | None]:
    return {"brightness": float(np.asarray(picture).mean())}


@pytest.mark.parametrize("control", [0, 1])
def test_each_scale_is_the_picture_that_it_would_be_alone(
    steered: Registry, request_for: Requests, control: int
) -> None:
    request = request_for("sd15", controls=UNITS, num_images=2)
    listener = Listener(steered)
    points = ScaleSweep(request, control, (0.0, 1.5), brightness).run(listener)
    for point in points:
        uses = [replace(use, scale=point.scale) if place == control else use for place, use in enumerate(UNITS)]
        alone = Generation(replace(request, num_images=1, controls=tuple(uses))).run(Listener(steered)).images[0]
        assert point.picture.tobytes() == alone.tobytes()
    rows = [event.values for event in listener.events if isinstance(event, Row)]
    assert rows == [{"scale": point.scale, **brightness(point.picture)} for point in points]
    steps = [(event.index, event.total) for event in listener.events if isinstance(event, Step)]
    assert steps == [(1, 2), (2, 2)]


def test_it_stops_between_two_pictures(steered: Registry, request_for: Requests) -> None:
    listener = Listener(steered, stop_after=1)
    with pytest.raises(Cancelled):
        ScaleSweep(request_for("sd15", controls=UNITS), 1).run(listener)
    assert len(listener.steps) == 1


@pytest.mark.parametrize("changes", [{"controls": ()}, {"controls": UNITS}])
def test_a_control_that_is_not_there_is_refused(steered: Registry, request_for: Requests, changes: Any) -> None:
    with pytest.raises(InvalidInput):
        ScaleSweep(request_for("sd15", **changes), 2).run(Listener(steered))
