"""Resident models, shared by all who draw: lease them, alone, several at once, or with what a request's controls need.

What is in memory and who makes room is the shelf's (`shelf.py`); this file knows models, families and controls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from studio.engine.adapted import adapted_set
from studio.engine.budget import Key, held_bytes, parked_bytes
from studio.engine.entries import Entry, Wanted, residents
from studio.engine.lease import Lease as Lease
from studio.engine.loaders import ComponentSet
from studio.engine.memory import Meter, Mover, PeakMeter, TorchMover
from studio.engine.prompts import PromptCache
from studio.engine.quantized import PLAIN, NoQuantizers, Quantizers, quantized_set
from studio.engine.sharing import with_shared_parts
from studio.engine.shelf import Shelf
from studio.engine.snapshot import RegistrySnapshot, ResidentSnapshot, WorkingSnapshot
from studio.engine.steering import Acting, Steering
from studio.engine.working import RequestShape, WorkingMemory
from studio.errors import GenerationFailed, InvalidInput
from studio.types import AdaptedKey, Control, ControlUse, Family, GenerationRequest, ModelSpec, PipelineKey

Loader = Callable[[ModelSpec, PipelineKey], ComponentSet]

MOST_CLONES = 8
"""Clones with adapters that are kept: beside the adapters' bytes, each costs a tree of Python objects."""


class Registry:
    """The models of one device, within a byte budget. `lease` them; nobody else loads or drops one.

    limit_bytes: of the device's memory; ram_limit_bytes: what may be parked in the machine's memory beside a graphics
    card, 0 on a CPU. lane: whoever calls a model on this device holds it meanwhile, so that no two are called at once.
    """

    def __init__(
        self,
        families: Sequence[Family],
        load: Loader,
        limit_bytes: int,
        device: str = "cpu",
        dtype: str = "float32",
        clock: Callable[[], float] = time.monotonic,
        *,
        controls: Mapping[str, Control] = MappingProxyType({}),
        quantizers: Quantizers | None = None,
        ram_limit_bytes: int = 0,
        mover: Mover | None = None,
        meter: Callable[[str], Meter] = PeakMeter,
    ) -> None:
        self._families: dict[str, Family] = {spec.id: family for family in families for spec in family.specs}
        self.specs: Mapping[str, ModelSpec] = {spec.id: spec for family in families for spec in family.specs}
        self.controls = controls
        self.quantizers = quantizers or NoQuantizers()
        self.limit_bytes = limit_bytes
        self.device = device
        self.dtype = dtype
        self.lane = threading.Lock()
        self._load = load
        self._meter = meter
        self._shelf = Shelf(limit_bytes, ram_limit_bytes, mover or TorchMover(device), clock)
        self._working = WorkingMemory()
        self._last: WorkingSnapshot | None = None
        self._prompts = PromptCache()
        for control in controls.values():
            for spec in control.specs:
                self.admit(spec)

    def admit(self, spec: ModelSpec) -> None:
        """Let a model be leased that the catalogue does not know, such as one that a person has brought."""
        self._families = {spec.id: Family(spec.family, (spec,), {}), **self._families}
        self.specs = {**self.specs, spec.id: spec}

    def key(self, model_id: str, quant_id: str = "none", field: str = "base_id") -> PipelineKey:
        """The key of a model on this registry's device. Raises InvalidInput for a name that is not known, and for a
        way to quantize it as `Quantizers.canonical`."""
        if model_id not in self.specs:
            choices = ", ".join(
                spec.id for spec in self.specs.values() if (spec.kind == "base") == (field == "base_id")
            )
            raise InvalidInput("not_a_choice", field=field, value=model_id[:40], choices=choices)
        if quant_id != PLAIN:
            quant_id = self.quantizers.canonical(quant_id)
        return PipelineKey(model_id, quant_id, self.dtype, self.device)

    def is_resident(self, key: PipelineKey | AdaptedKey) -> bool:
        """Whether a lease would be given at once."""
        return self._shelf.is_ready(key)

    @contextmanager
    def lease(self, key: PipelineKey) -> Iterator[Lease]:
        """Hold a model, loaded first if it is not resident.

        Raises ModelUnavailable if it cannot be loaded or would not fit beside what is leased; the next lease
        tries again.
        """
        with self.lease_all([key]) as (lease,):
            yield lease

    @contextmanager
    def lease_all(self, keys: Sequence[PipelineKey]) -> Iterator[list[Lease]]:
        """Hold several models, pinned all together: room is made for all of them before the first is loaded.

        Raises as `lease`; then none of them is held.
        """
        with self._shelf.hold([self._wanted(key) for key in keys]) as held:
            yield [self._lease(key, entry, value) for key, (entry, value) in zip(keys, held, strict=True)]

    @contextmanager
    def lease_for(self, request: GenerationRequest) -> Iterator[Lease]:
        """Hold what a request needs: its model, those of its controls, and a clone where a control puts weights on.

        Raises InvalidInput for a control or a model that is not known or does not fit, ModelUnavailable for one that
        was trained on another base, and as `lease`.
        """
        uses = self._prepared(request)
        keys = self.keys_of(request)
        with self.lease_all(keys) as (base, *others):
            for other in others:
                other.components.require_base(base.components)
            sets = {other.key.base_id: other.components for other in others if isinstance(other.key, PipelineKey)}
            steering = Steering(
                tuple(
                    Acting.of(self.controls[control_id], [use for use in uses if use.control_id == control_id], sets)
                    for control_id in sorted({use.control_id for use in uses})
                )
            )
            bills = {other.components.sha256: other.bill for other in others}
            if steering.adapters:
                with self._lease_clone(base, steering) as clone:
                    yield replace(clone, bills=bills)
            else:
                yield replace(base, steering=steering, bills=bills)

    def keys_of(self, request: GenerationRequest) -> list[PipelineKey]:
        """The keys of the models that a request needs, its own first. Raises InvalidInput."""
        base = self.key(request.base_id, request.quant_id)
        models = dict.fromkeys(use.model_id for use in request.controls)
        return [base, *(self.key(model_id, field="controls") for model_id in models)]

    @contextmanager
    def _lease_clone(self, base: Lease, steering: Steering) -> Iterator[Lease]:
        """Hold a clone of a leased model with a request's adapters on it. One that a call broke is not kept."""
        key = AdaptedKey(base.pipeline, steering.adapters)
        # Adapters mostly are the very tensors that were leased with them; what they take beside is measured then.
        wanted = Wanted(key, 0, lambda: adapted_set(base.components, steering.adapt))
        with self._shelf.hold([wanted]) as ((entry, value),):
            try:
                yield replace(self._lease(key, entry, value), steering=steering)
            except Exception:
                self._shelf.forget(entry)
                raise
        self._shelf.trim_clones(MOST_CLONES)

    @contextmanager
    def _reserve(self, shape: RequestShape) -> Iterator[Meter]:
        """Keep room for what a request of this shape is predicted to need, and learn what it took."""
        predicted = self._working.predict(shape)
        with self._shelf.reserve(predicted or 0):
            with self._meter(self.device) as meter:
                before_bytes = self._device_bytes()
                try:
                    yield meter
                finally:
                    meter.sample()
                    grown_bytes = max(0, self._device_bytes() - before_bytes)
                    peak_bytes = max(0, meter.peak_bytes - meter.base_bytes - grown_bytes)
                    self._working.learn(shape, peak_bytes)
                    self._last = WorkingSnapshot(shape, predicted, peak_bytes)

    def out_of_memory(self) -> GenerationFailed:
        """Take what nobody leases off the device, and say what was needed and who holds the memory.

        To be called when the frames of the failed call, and with them their tensors, are gone.
        """
        last = self._last
        working_bytes = max(last.peak_bytes, last.predicted_bytes or 0) if last is not None else 0
        needed_bytes = self._leased_bytes() + working_bytes
        told = self._shelf.shortage(needed_bytes)
        self._prompts.clear()
        self._shelf.relieve()
        return GenerationFailed("out_of_memory", device=self.device, **told)

    def snapshot(self) -> RegistrySnapshot:
        """What is resident now, the longest unused first. Changes nothing."""
        shelf = self._shelf
        with shelf.looked_at() as entries:
            held = residents(entries, parks=True)
            return RegistrySnapshot(
                resident=tuple(_seen(entry, entries) for entry in entries),
                device=self.device,
                bytes=held_bytes(one for one in held if not one.parked),
                limit_bytes=shelf.limit_bytes,
                parked_bytes=parked_bytes(held),
                ram_limit_bytes=shelf.ram_limit_bytes,
                reserved_bytes=shelf.reserved_bytes,
                hits=shelf.hits,
                misses=shelf.misses,
                evictions=shelf.evictions,
                moves=shelf.moves,
                last=self._last,
            )

    def _wanted(self, key: PipelineKey) -> Wanted:
        """How a model comes into memory."""
        spec = self.specs[key.base_id]

        def make() -> ComponentSet:
            loaded = self._load(spec, key)
            with self._shelf.others(key) as resident:
                shared = with_shared_parts(loaded, resident)
            if key.quant_id == PLAIN:
                return shared
            return quantized_set(shared, self._families[spec.id], key.quant_id, self.quantizers)

        return Wanted(key, spec.bytes_in(key.dtype), make)

    def _lease(self, key: Key, entry: Entry, value: ComponentSet) -> Lease:
        family = self._families[value.spec.id]
        return Lease(key, value, family, partial(self._shelf.bill, entry), self._reserve, prompts=self._prompts)

    def _prepared(self, request: GenerationRequest) -> list[ControlUse]:
        """A request's uses, each checked by its control and ready to run."""
        family = self.specs[self.key(request.base_id, request.quant_id).base_id].family
        if request.controls and request.quant_id != PLAIN:
            raise InvalidInput("quant_no_controls", field="controls")
        prepared = []
        for use in request.controls:
            if use.control_id not in self.controls:
                value, choices = use.control_id[:40], ", ".join(self.controls) or "-"
                raise InvalidInput("not_a_choice", field="controls", value=value, choices=choices)
            control = self.controls[use.control_id]
            spec = self.specs[self.key(use.model_id, field="controls").base_id]
            kinds = {one.kind for one in control.specs}
            if spec.kind == "base" or (kinds and spec.kind not in kinds):
                raise InvalidInput("not_for_this_control", field="controls", model=spec.name, control=control.id)
            if spec.family != family:
                raise InvalidInput("of_another_family", field="controls", model=spec.name, family=family)
            prepared.append(control.prepare(use, request))
        return prepared

    def _device_bytes(self) -> int:
        with self._shelf.looked_at() as entries:
            return held_bytes(one for one in residents(entries, parks=True) if not one.parked)

    def _leased_bytes(self) -> int:
        with self._shelf.looked_at() as entries:
            return held_bytes(residents([one for one in entries if one.leases], parks=True))


def _seen(entry: Entry, entries: Sequence[Entry]) -> ResidentSnapshot:
    """One entry as it is now."""
    others = {storage for one in entries if one is not entry for storage in one.storages}
    return ResidentSnapshot(
        key=entry.key,
        name=entry.name,
        bytes=sum(entry.storages.values()),
        own_bytes=sum(size for storage, size in entry.storages.items() if storage not in others),
        leases=entry.leases,
        state=entry.state,
        hits=entry.hits,
        load_seconds=entry.value.load_seconds if entry.value is not None else 0.0,
    )
