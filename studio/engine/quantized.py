"""Quantized variants of a model: sets of their own, which share with the plain one everything but the UNet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from studio.engine.calibration import Call, Calls, calls_of
from studio.engine.loaders import ComponentSet
from studio.engine.memory import storage_bytes
from studio.errors import InvalidInput, StudioError
from studio.types import Family, Task

PLAIN = "none"
"""The id of no quantization: what draws best here does."""


class Quantizers(Protocol):
    """The methods that the studio knows, as `studio.quant` has them. prompts: what to calibrate with."""

    prompts: Sequence[str]
    methods: Mapping[str, Any]

    def use(self, quant_id: str, field: str = "quant_id") -> Any:
        """The method and the bits of an id. Raises InvalidInput or ModelUnavailable for what cannot be had."""

    def canonical(self, quant_id: str, field: str = "quant_id") -> str:
        """One name for all ways to write an id. Raises InvalidInput or ModelUnavailable for what cannot be had."""

    def apply(self, quant_id: str, net: Any, calibration: Sequence[Call]) -> Any:
        """A network in fewer bits of the same call; the given one is untouched."""

    def coverage(self, quant_id: str, net: Any, quantized: Any, call: Call) -> Any:
        """The shares of the weights and of the arithmetic that are in fewer bits."""

    def why_not(self, method_id: str) -> StudioError | None:
        """Why a method does not run here; None if it does."""


class NoQuantizers:
    """For a registry that was given none."""

    prompts: Sequence[str] = ()
    methods: Mapping[str, Any] = MappingProxyType({})

    def use(self, quant_id: str, field: str = "quant_id") -> Any:
        raise InvalidInput("not_a_choice", field=field, value=quant_id[:40], choices=PLAIN)

    def canonical(self, quant_id: str, field: str = "quant_id") -> str:
        return str(self.use(quant_id, field))

    def apply(self, quant_id: str, net: Any, calibration: Sequence[Call]) -> Any:
        return self.use(quant_id)

    def coverage(self, quant_id: str, net: Any, quantized: Any, call: Call) -> Any:
        return self.use(quant_id)

    def why_not(self, method_id: str) -> StudioError | None:
        return InvalidInput("not_a_choice", field="quant_id", value=method_id[:40], choices=PLAIN)


def quantized_set(plain: ComponentSet, family: Family, quant_id: str, quantizers: Quantizers) -> ComponentSet:
    """The set with its UNet quantized, calibrated on what that is asked while it draws.

    Raises InvalidInput for a model that the method cannot take.
    """
    unet = plain.components.get("unet")
    if unet is None or Task.TEXT_TO_IMAGE not in plain.spec.tasks:
        raise InvalidInput("quant_no_unet", field="quant_id", model=plain.spec.name)
    started = time.perf_counter()
    calls = Calls(partial(calls_of, plain, family, quantizers.prompts))
    parts = {**plain.components, "unet": quantizers.apply(quant_id, unet, calls)}
    return replace(
        plain,
        components=parts,
        bytes=storage_bytes(parts.values()) + held_bytes(parts["unet"]),
        graphs=None,
        load_seconds=plain.load_seconds + time.perf_counter() - started,
        parts_sha256={part: digest for part, digest in plain.parts_sha256.items() if part != "unet"},
    )


def held_bytes(net: Any) -> int:
    """What a network holds that is no tensor of torch, as far as it says."""
    return int(getattr(net, "held_bytes", 0))
