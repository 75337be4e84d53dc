"""A LoRA, an IP-Adapter and a ControlNet in one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from studio.controls.ip_adapter import CONTROL
from studio.engine.generate import Generation
from studio.engine.loaders import FolderLoader
from studio.types import ControlUse, Family, GenerationRequest
from tests.engine.conftest import Listener
from tests.engine.steered import IP_ADAPTER, AdapterLoader, steered_registry
from tests.tiny import NATIVE_SIZE

REFERENCES = (Image.new("RGB", (40, 30), "teal"), Image.linear_gradient("L"))
LINES = Image.new("RGB", (NATIVE_SIZE, NATIVE_SIZE), "white")


def test_all_three_steer_and_with_all_scales_at_zero_are_the_base(
    families: tuple[Family, ...],
    load: FolderLoader,
    request_for: Callable[..., GenerationRequest],
    tmp_path: Path,
):
    known = replace(CONTROL, specs=(replace(IP_ADAPTER, id="own-ip"),))
    registry = steered_registry(families, AdapterLoader(load, tmp_path), known)

    def drawn(*uses: ControlUse) -> np.ndarray:
        request = request_for("sd15", num_inference_steps=2, controls=uses)
        return np.asarray(Generation(request).run(Listener(registry)).images[0])

    def at(lora: float, picture: float, edges: float) -> np.ndarray:
        return drawn(
            ControlUse("lora", "lora-a", scale=lora),
            ControlUse("ip_adapter", "own-ip", REFERENCES, scale=picture, options={"weight_2": 0.5}),
            ControlUse("edges", "net-a", (LINES,), scale=edges),
        )

    without = drawn()
    assert (at(0.0, 0.0, 0.0) == without).all()
    steered = [at(0.8, 0.0, 0.0), at(0.0, 0.8, 0.0), at(0.0, 0.0, 0.8), at(0.8, 0.8, 0.8)]
    assert all((one != other).any() for one, other in combinations([without, *steered], 2))
    assert (drawn() == without).all()
