"""The methods of one studio, by name, on its device: what the engine is given, and what says whether one runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from studio.errors import StudioError
from studio.quant.coverage import Coverage, coverage
from studio.quant.method import Call, QuantMethod, QuantUse, parse, require_backend
from studio.quant.probe import probe
from studio.quant.prompts import PROMPTS

if TYPE_CHECKING:
    from torch import nn


class Quantizers:
    """Methods on a device. Any thread may use them. prompts: what a text-to-image model is calibrated with."""

    prompts: Sequence[str] = PROMPTS

    def __init__(self, methods: Sequence[QuantMethod], device: str = "cpu") -> None:
        self.methods: Mapping[str, QuantMethod] = MappingProxyType({method.id: method for method in methods})
        self.device = device
        self._lock = threading.Lock()
        self._probed: dict[str, StudioError | None] = {}

    def use(self, quant_id: str, field: str = "quant_id") -> QuantUse:
        """The method and bits of an id. Raises InvalidInput for one that is not offered, ModelUnavailable for one whose
        package or card is not there."""
        use = parse(quant_id, self.methods, field)
        require_backend(use.method, self.device)
        return use

    def canonical(self, quant_id: str, field: str = "quant_id") -> str:
        """The same for every way to write the same use. Raises as `use`."""
        return self.use(quant_id, field).id

    def apply(self, quant_id: str, net: nn.Module, calibration: Sequence[Call]) -> nn.Module:
        """A quantized network; the given one is untouched. Raises as `use`, and InvalidInput for one it cannot take."""
        use = self.use(quant_id)
        return use.method.apply(net, use.recipe(calibration)).eval()

    def coverage(self, quant_id: str, net: nn.Module, quantized: nn.Module, call: Call) -> Coverage:
        """What of a network is in fewer bits in a variant of it. call: one of the network's own."""
        return coverage(net, quantized, self.use(quant_id), call)

    def why_not(self, method_id: str) -> StudioError | None:
        """Why a method does not run here; None if it does. Tried once, on a tiny network: up to seconds."""
        with self._lock:
            if method_id not in self._probed:
                self._probed[method_id] = probe(self.methods[method_id], self.device)
            return self._probed[method_id]
