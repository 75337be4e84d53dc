"""What a quantization method is, and the names under which a person asks for one.

A method without a choice of bits is named by its id, "openvino_int8"; one with a choice by its id and its bits,
"tdq_ptq-w8a4", or by its id alone for its default ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from studio.errors import InvalidInput, ModelUnavailable

if TYPE_CHECKING:
    from torch import nn

MIN_BITS, MAX_BITS = 2, 8
"""What can be chosen; a real method may keep activations in 16 or 32."""
NAMED = re.compile(r"(?P<method>[a-z0-9_]+)(?:-w(?P<weight>\d{1,3})a(?P<activation>\d{1,3}))?")

INSTALLED_AS = {"optimum.quanto": "optimum-quanto"}
"""Packages that are installed under another name than they are imported by."""

Call = tuple[tuple[Any, ...], Mapping[str, Any]]
"""The positional and the named arguments of one call of a network."""


@dataclass(frozen=True)
class Recipe:
    """How many bits, and what a method may learn from.

    calibration: calls that the network gets on its OWN sampling trajectory, over all t, the noisiest first in each
    walk. They are recorded when they are first read: a method that needs none costs none.
    """

    weight_bits: int
    activation_bits: int
    calibration: Sequence[Call] = ()


@dataclass(frozen=True)
class QuantMethod:
    """One way to compute a network in fewer bits.

    simulated: rounds as if, and computes in float32: no speed and no memory are ever told of it. weight_bits,
    activation_bits: what can be chosen, the default first. apply(net, recipe) gives a quantized network of the same
    call signature; the given one is untouched. It raises InvalidInput for a network that it cannot take. requires: the
    packages, by the names under which they are imported. pairs: the bits of weights and activations that go together,
    where not all do. only: the name of the one model that the method was made for, if it was. The page names every
    method: their files import torch inside functions only.
    """

    id: str
    simulated: bool
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    apply: Callable[[nn.Module, Recipe], nn.Module]
    requires: tuple[str, ...] = ()
    needs_cuda: bool = False
    pairs: tuple[tuple[int, int], ...] = ()
    only: str = ""

    @property
    def has_choice(self) -> bool:
        return len(self.weight_bits) > 1 or len(self.activation_bits) > 1


@dataclass(frozen=True)
class QuantUse:
    """A method with its bits."""

    method: QuantMethod
    weight_bits: int
    activation_bits: int

    @property
    def id(self) -> str:
        """As `parse` reads it; equal uses have equal ids."""
        bits = f"-w{self.weight_bits}a{self.activation_bits}" if self.method.has_choice else ""
        return self.method.id + bits

    def recipe(self, calibration: Sequence[Call] = ()) -> Recipe:
        return Recipe(self.weight_bits, self.activation_bits, calibration)


def parse(quant_id: str, methods: Mapping[str, QuantMethod], field: str = "quant_id") -> QuantUse:
    """The method and the bits that an id names. Looks for no package.

    Raises InvalidInput that names the field and what it takes: an id that cannot be read, an unknown method, bits that
    are outside MIN_BITS to MAX_BITS or that the method does not offer.
    """
    read = NAMED.fullmatch(quant_id)
    if read is None:
        raise InvalidInput("bad_quant_id", field=field, value=quant_id[:40])
    if read["method"] not in methods:
        raise InvalidInput("not_a_choice", field=field, value=read["method"][:40], choices=", ".join(methods))
    method = methods[read["method"]]
    if read["weight"] is None:
        return QuantUse(method, method.weight_bits[0], method.activation_bits[0])
    weight = _bits("weight_bits", int(read["weight"]), method.weight_bits)
    activation = _bits("activation_bits", int(read["activation"]), method.activation_bits)
    if method.pairs and (weight, activation) not in method.pairs:
        choices = ", ".join(f"w{w}a{a}" for w, a in method.pairs)
        raise InvalidInput("not_a_choice", field=field, value=f"w{weight}a{activation}", choices=choices)
    return QuantUse(method, weight, activation)


def _bits(field: str, value: int, choices: Sequence[int]) -> int:
    """A number of bits that a method offers."""
    if value in choices:
        return value
    if not MIN_BITS <= value <= MAX_BITS:
        raise InvalidInput("bad_whole_number", field=field, minimum=MIN_BITS, maximum=MAX_BITS, value=value)
    raise InvalidInput("not_a_choice", field=field, value=value, choices=", ".join(map(str, choices)))


def require_backend(method: QuantMethod, device: str) -> None:
    """Raise ModelUnavailable that names what a method lacks on this machine: a package, or a graphics card.

    That all is there does not yet mean that it runs: `probe.py` tries.
    """
    for package in method.requires:
        if not is_there(package):
            name = INSTALLED_AS.get(package, package)
            raise ModelUnavailable("quant_needs_package", method=method.id, package=name)
    if method.needs_cuda and not device.startswith("cuda"):
        raise ModelUnavailable("quant_needs_cuda", method=method.id, device=device)


def is_there(package: str) -> bool:
    """Whether a package could be imported. Imports at most the one that it is inside of."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the one around it is missing
        return False


def refuse(method_id: str, reason: str) -> InvalidInput:
    """The error of a method that cannot take a network. reason: a key of assets/i18n under `quant.cannot.`"""
    return InvalidInput(f"quant_cannot.{reason}", field="quant_id", method=method_id)
