"""The gate: whether a file is a LoRA that fits a base, decided before any of it touches a model.

The header first (`lora_file.py`), then the names and shapes, and only then the numbers. Each rule is one function that
raises ModelUnavailable, which says what is wrong and names the first offender. What passes loads wholly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.diffusion.lora_keys import (
    ALPHA,
    DIFFUSERS,
    DOWN,
    KOHYA,
    UP,
    ModuleNames,
    Named,
    Pair,
    adapter_config,
    fits,
    grouped,
    pairs_of,
    read_key,
    scaling,
)
from studio.diffusion.lora_origins import likely_family, other_algorithm
from studio.engine.lora_base import BaseWeights
from studio.engine.lora_file import MAX_NAMED, LoraFile, read_lora
from studio.errors import ModelUnavailable
from studio.types import ModelSpec

MAX_RANK = 512
MAX_WEIGHT = 1e4
FAMILY_NAMES = {
    "little_world": "Little world",
    "sd15": "Stable Diffusion 1.5",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
    "sd3": "Stable Diffusion 3",
    "flux": "FLUX",
}
UNKNOWN_FAMILY = "?"


@dataclass(frozen=True, eq=False)
class Passed:
    """A file that has passed. layout: "diffusers" or "kohya"; scalings: alpha / r of each pair, in their order."""

    file: LoraFile
    base: BaseWeights
    layout: str
    pairs: tuple[Pair, ...]
    scalings: tuple[float, ...]

    def tensors(self) -> Iterator[tuple[Pair, float, Any, Any]]:
        """Each pair, its scaling, and its two matrices A and B. Needs torch."""
        from safetensors import safe_open

        with safe_open(self.file.path, framework="pt") as opened:
            for pair, scale in zip(self.pairs, self.scalings, strict=True):
                yield pair, scale, opened.get_tensor(pair.down), opened.get_tensor(pair.up)

    def rank(self, pair: Pair) -> int:
        return self.file.shapes[pair.down][0]


def pass_gate(path: Path, model: str, base: BaseWeights) -> Passed:
    """A file that is a LoRA for this base, all of it. model: the file's name, for the messages.

    Raises ModelUnavailable for the first rule that is broken.
    """
    file = read_lora(path, model)
    _only_low_rank(file, model)
    layout = _of_one_layout(file, model)
    modules = grouped(file.shapes)
    for named in modules.values():
        _complete(named, model)
        _rank_within_bounds(named, file, model)
    _matched(modules, file, model, base)
    _numbers_within_bounds(file, model)
    pairs = tuple(pairs_of(file.shapes, base.modules))
    return Passed(file, base, layout, pairs, tuple(_scalings(pairs, file, model)))


def _only_low_rank(file: LoraFile, model: str) -> None:
    """LyCORIS' other algorithms, DoRA, and what peft's header says is one, are refused by name."""
    other = other_algorithm(file.shapes)
    if other is None and any(told is True for key, told in adapter_config(file.metadata).items() if "use_dora" in key):
        other = "DoRA", "lora_adapter_metadata"
    if other is not None:
        raise ModelUnavailable("lora_algorithm", model=model, algorithm=other[0], tensor=other[1][:MAX_NAMED])


def _of_one_layout(file: LoraFile, model: str) -> str:
    """All keys are diffusers', or all are kohya's."""
    keys = {name: read_key(name) for name in file.shapes}
    layouts = {key.layout for key in keys.values() if key is not None}
    unknown = next((name for name, key in keys.items() if key is None), None)
    if not layouts:
        raise ModelUnavailable("lora_no_keys", model=model, tensor=next(iter(file.shapes))[:MAX_NAMED])
    if unknown is not None:
        raise _of_other_family("lora_unknown_key", file, model, unknown)
    if len(layouts) > 1:
        odd = next(name for name, key in keys.items() if key is not None and key.layout == KOHYA)
        raise ModelUnavailable("lora_mixed_layouts", model=model, tensor=odd[:MAX_NAMED])
    return DIFFUSERS if DIFFUSERS in layouts else KOHYA


def _complete(named: Named, model: str) -> None:
    """Every A has its B, and every B its A; an alpha has both."""
    for role, letter in ((DOWN, "A"), (UP, "B")):
        if role not in named.roles:
            there = next(iter(named.roles.values()))
            raise ModelUnavailable("lora_half_pair", model=model, tensor=there[:MAX_NAMED], missing=letter)


def _rank_within_bounds(named: Named, file: LoraFile, model: str) -> None:
    """From 1 to 512, the same in A and in B; an alpha is a single number."""
    down, up = (file.shapes[named.roles[role]] for role in (DOWN, UP))
    tensor = named.roles[DOWN][:MAX_NAMED]
    if len(down) not in (2, 4) or len(up) not in (2, 4) or down[0] != up[1]:
        raise ModelUnavailable("lora_rank_differs", model=model, tensor=tensor, down=list(down), up=list(up))
    if not 1 <= down[0] <= MAX_RANK:
        raise ModelUnavailable("lora_rank", model=model, tensor=tensor, value=down[0], maximum=MAX_RANK)
    if ALPHA in named.roles and math.prod(file.shapes[named.roles[ALPHA]]) != 1:
        raise ModelUnavailable("lora_alpha", model=model, tensor=named.roles[ALPHA][:MAX_NAMED], value="-")


def _matched(modules: Mapping[tuple[str, str], Named], file: LoraFile, model: str, base: BaseWeights) -> None:
    """Every pair changes a weight that the base has, of a shape that fits."""
    names = ModuleNames(base.modules)
    for named in modules.values():
        module = names.find(named.key)
        if module is None:
            raise _of_other_family("lora_unknown_module", file, model, named.roles[DOWN], base.spec.name)
        weight = base.modules[named.key.part][module]
        down, up = (file.shapes[named.roles[role]] for role in (DOWN, UP))
        if not fits(down, up, weight):
            found = f"{list(down)} × {list(up)}"
            raise _of_other_family(
                "lora_other_shape", file, model, named.roles[DOWN], base.spec.name, found=found, wanted=list(weight)
            )


def _of_other_family(key: str, file: LoraFile, model: str, tensor: str, base: str = "", **values: object) -> Exception:
    """The refusal of a file that was made for something else, with what that probably is."""
    likely = FAMILY_NAMES.get(likely_family(file.shapes), UNKNOWN_FAMILY)
    return ModelUnavailable(key, model=model, tensor=tensor[:MAX_NAMED], base=base, likely=likely, **values)


def _numbers_within_bounds(file: LoraFile, model: str) -> None:
    """Every weight is finite, and none beyond 10,000. The first rule that reads tensors, one at a time."""
    from safetensors import safe_open

    with safe_open(file.path, framework="pt") as opened:
        for name in file.shapes:
            largest = float(opened.get_tensor(name).abs().max())  # NaN where there is one
            if not math.isfinite(largest):
                raise ModelUnavailable("lora_not_finite", model=model, tensor=name[:MAX_NAMED])
            if largest > MAX_WEIGHT:
                raise ModelUnavailable(
                    "lora_weight_too_large",
                    model=model,
                    tensor=name[:MAX_NAMED],
                    value=f"{largest:.3g}",
                    maximum=f"{MAX_WEIGHT:,.0f}",
                )


def _scalings(pairs: tuple[Pair, ...], file: LoraFile, model: str) -> Iterator[float]:
    """alpha / r of each pair, a finite number that is not beyond 10,000."""
    from safetensors import safe_open

    with safe_open(file.path, framework="pt") as opened:
        for pair in pairs:
            alpha = float(opened.get_tensor(pair.alpha)) if pair.alpha else None
            try:
                found = scaling(pair, file.shapes[pair.down][0], alpha, file.metadata)
            except (TypeError, ValueError):
                found = math.nan
            if not abs(found) <= MAX_WEIGHT:
                tensor = pair.alpha or pair.down
                raise ModelUnavailable("lora_alpha", model=model, tensor=tensor[:MAX_NAMED], value=f"{found:.3g}")
            yield found


class LoraGate:
    """The gate for a loader, which remembers what has passed. base: of a family; raises ModelUnavailable."""

    def __init__(self, base: Callable[[str], BaseWeights]) -> None:
        self._base = base
        self._passed: dict[tuple[Path, int, int], Passed] = {}

    def passed(self, path: Path, model: str, family: str) -> Passed:
        """As `pass_gate`; a file that has not changed since it passed is not read again."""
        told = path.stat()
        key = path, told.st_mtime_ns, told.st_size
        if key not in self._passed:
            self._passed[key] = pass_gate(path, model, self._base(family))
        return self._passed[key]

    def __call__(self, spec: ModelSpec, path: Path) -> None:
        """Raise ModelUnavailable for a file that does not pass. As `FolderLoader.gates` calls it."""
        self.passed(path, spec.name, spec.family)
