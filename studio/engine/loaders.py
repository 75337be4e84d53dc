"""From a ModelSpec to components in memory: the only code that reads weights.

A model is a folder in diffusers' format, the project's own or a snapshot in the hub's cache; what one network steers
others with is read by `single.py`. Loading asks no hub: what is not there is downloaded on request (`downloads.py`),
never on the way.
"""

from __future__ import annotations

import json
import logging
import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.construction import CONSTRUCTION_LOCK, imported
from studio.engine.folders import (
    INDEX,
    UNUSED_PARTS,
    ModelFolder,
    file_digests,
    folder_sha256,
    look_through,
    part_digests,
    tensor_names,
)
from studio.engine.hub import CachedRepository, Record, default_cache
from studio.engine.memory import storage_bytes
from studio.engine.single import SINGLE_KINDS, builds_on, load_single, look_at_single, mark_of
from studio.engine.tuning import Tuning, tune
from studio.errors import ModelUnavailable
from studio.lineage import require_same
from studio.types import ModelSpec, PipelineKey, Source

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

LATENT_RGB = "vae/latent_rgb.json"
VAE_CONFIG = "vae/config.json"
TEXT_MODEL_PREFIX = "text_model."
"""Checkpoints of older transformers carry it in the names of a text encoder's weights."""


@dataclass(frozen=True)
class ComponentSet:
    """One model in memory, pristine and shared: nothing is ever attached to it.

    components: diffusers' parts by name, the base scheduler among them. bytes: storage of all weights, each counted
    once. sha256: of the files it came from. latent_rgb: (C + 1, 3) float32, the UNet's latents and 1 to RGB in
    [-1, 1]. source: with the revision that was found. graphs: `backends.Graphs`, what OpenVINO draws of it; None where
    PyTorch draws all of it. parts_sha256: part -> hash of its weights; builds_on: the same of the base that a
    ControlNet, a LoRA or an IP-Adapter was trained on, where it tells.
    """

    components: Mapping[str, Any]
    spec: ModelSpec
    source: Source
    bytes: int
    sha256: str
    latent_rgb: torch.Tensor | None
    load_seconds: float
    graphs: Any = None
    parts_sha256: Mapping[str, str] = field(default_factory=dict)
    builds_on: Mapping[str, str] = field(default_factory=dict)

    def require_base(self, base: ComponentSet) -> None:
        """Refuse to steer a base whose weights are others than those that this one was trained on, as far as it says.

        Raises ModelUnavailable that names both.
        """
        for part in self.builds_on.keys() & base.parts_sha256.keys():
            require_same(self.spec.name, part, self.builds_on[part], base.parts_sha256[part])


@dataclass(frozen=True)
class Found:
    """Where a model lies. source: with the commit, for one from a hub; record: of its download, if it was made here."""

    path: Path
    source: Source
    record: Record | None = None

    def check(self, digests: Mapping[str, str], model_id: str) -> None:
        """Raise ModelUnavailable that names a file which is no longer what was downloaded. digests: SHA-256 by name."""
        recorded = self.record.files if self.record is not None else {}
        for name, digest in digests.items():
            in_repository = posixpath.normpath(posixpath.join(self.source.subfolder, name))
            if recorded.get(in_repository, digest) != digest:
                raise ModelUnavailable("model_damaged", model=model_id, file=name)


@dataclass(frozen=True)
class FolderLoader:
    """Loads a model from the first of its sources that is there. root: what local sources are relative to; cache_dir:
    the hub's cache, this person's own where it is None.

    convert: makes a set's graphs for OpenVINO of its components; tuning: how PyTorch shall run them on its device.
    gates: by kind of a model of one network, what looks at its file before anything else does; it raises
    ModelUnavailable to refuse it.
    """

    root: Path
    cache_dir: Path | None = None
    convert: Callable[[Mapping[str, Any]], Any] | None = None
    tuning: Tuning = field(default_factory=Tuning)
    gates: Mapping[str, Callable[[ModelSpec, Path], None]] = field(default_factory=dict)

    def __call__(self, spec: ModelSpec, key: PipelineKey) -> ComponentSet:
        """Read the model in the key's dtype, onto its device. Raises ModelUnavailable, which says what is missing."""
        started = time.perf_counter()
        found, folder = self.look(spec, key.dtype)
        digests = file_digests(folder)
        found.check(digests, spec.id)
        single = spec.kind in SINGLE_KINDS
        components = load_single(folder, key, spec) if single else _load_components(folder, key, spec.id)
        tune(components, self.tuning)
        return ComponentSet(
            components=components,
            spec=spec,
            source=found.source,
            bytes=storage_bytes(components.values()),
            sha256=folder_sha256(digests),
            latent_rgb=None if single else _latent_rgb(found.path, spec, components["vae"].config.latent_channels),
            graphs=self._graphs(spec, key, components),
            load_seconds=time.perf_counter() - started,
            parts_sha256=part_digests(digests),
            builds_on=builds_on(folder, spec) if single else {},
        )

    def _graphs(self, spec: ModelSpec, key: PipelineKey, components: Mapping[str, Any]) -> Any:
        """What OpenVINO draws: float32 models as they were trained. None, and a line in the log, if it cannot."""
        if self.convert is None or (key.dtype, key.quant_id) != ("float32", "none"):
            return None
        try:
            return self.convert(components)
        except RuntimeError as error:
            logger.warning("OpenVINO cannot draw %s, PyTorch does: %s", spec.id, str(error)[:500])
            return None

    def find(self, spec: ModelSpec) -> Found:
        """The first of a model's sources that is at hand. Raises ModelUnavailable: what the last one lacked."""
        return self._first(spec, spec.sources)

    def look(self, spec: ModelSpec, dtype: str) -> tuple[Found, ModelFolder]:
        """Where a model lies and what loading it would read; no weights are read. Raises ModelUnavailable."""
        found, half = self.find(spec), dtype != "float32"
        if spec.kind not in SINGLE_KINDS:
            return found, look_through(found.path, spec.id, prefer_half=half)
        encoder = self._first(spec, spec.image_encoder).path if spec.image_encoder else None
        folder = look_at_single(found.path, spec, found.source.filename, encoder, half)
        if spec.kind in self.gates:
            self.gates[spec.kind](spec, folder.files[0])
        return found, folder

    def _first(self, spec: ModelSpec, sources: Sequence[Source]) -> Found:
        """The first of some sources that is at hand. Raises ModelUnavailable: what the last one lacked."""
        failures = []
        for source in sources:
            try:
                return self._find(spec, source)
            except ModelUnavailable as error:
                failures.append(error)
        raise failures[-1]

    def _find(self, spec: ModelSpec, source: Source) -> Found:
        """Where one source's files are. Raises ModelUnavailable."""
        mark = mark_of(spec, source)
        match source.hub:
            case "local":
                folder = self.root / source.repo / source.subfolder
                if not (folder / source.filename).exists():
                    missing = source.filename or f"{folder.name}/"
                    raise ModelUnavailable("model_missing", model=spec.id, missing=missing)
                return Found(folder, source)
            case "huggingface":
                repository = CachedRepository(self.cache_dir or default_cache(), source.repo)
                cached = repository.find(source, spec.id, mark)
                if cached is None:
                    raise ModelUnavailable("not_downloaded", model=spec.id, repo=source.repo)
                snapshot, record = cached
                return Found(snapshot / source.subfolder, replace(source, revision=snapshot.name), record)
            case "modelscope":
                raise ModelUnavailable("hub_not_supported", model=spec.id, hub=source.hub)


def _quiet() -> None:
    """Keep progress bars out of the log, and diffusers' warnings: one of them quotes what is cut from a prompt."""
    for library in ("diffusers", "transformers"):
        imported(f"{library}.utils.logging", "disable_progress_bar")()
    for name in ("diffusers.pipelines", "diffusers.configuration_utils"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _load_components(folder: ModelFolder, key: PipelineKey, model_id: str) -> dict[str, Any]:
    """The parts of a folder that has been looked through, frozen, in the key's dtype and on its device."""
    import torch

    _quiet()
    index = json.loads((folder.path / INDEX).read_text(encoding="utf-8"))
    unused = {name: None for name in UNUSED_PARTS if name in index}
    with CONSTRUCTION_LOCK:
        pipeline = imported("diffusers", "DiffusionPipeline").from_pretrained(
            folder.path,
            dtype=_dtypes(folder.path, key),
            variant=folder.variant or None,
            use_safetensors=True,
            local_files_only=True,
            **unused,
            **({"requires_safety_checker": False} if "safety_checker" in index else {}),
        )
    components: dict[str, Any] = pipeline.components
    modules = {name: part for name, part in components.items() if isinstance(part, torch.nn.Module)}
    for name, module in modules.items():
        _check_complete(module, name, folder, model_id)
    with CONSTRUCTION_LOCK:
        pipeline.to(key.device)
    for module in modules.values():
        module.requires_grad_(False)
    return components


def _dtypes(folder: Path, key: PipelineKey) -> Any:
    """In which dtype the parts run: the key's. An autoencoder whose activations overflow float16 stays in float32."""
    import torch

    dtype = getattr(torch, key.dtype)
    config = folder / VAE_CONFIG
    overflows = config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("force_upcast", False)
    return {"default": dtype, "vae": torch.float32} if overflows and dtype == torch.float16 else dtype


def _check_complete(module: torch.nn.Module, part: str, folder: ModelFolder, model_id: str) -> None:
    """Raise ModelUnavailable if weights of a part are in none of its files: they would be nothing, or random.

    diffusers leaves them without storage; transformers draws them anew.
    """
    own = dict(module.named_parameters())
    missing = [name for name, parameter in own.items() if parameter.is_meta]
    if folder.parts[part] == "transformers":
        files = [file for file in folder.files if file.parent.name == part and file.suffix == ".safetensors"]
        stored = {name.removeprefix(TEXT_MODEL_PREFIX) for file in files for name in tensor_names(file)}
        missing += [name for name in own if name.removeprefix(TEXT_MODEL_PREFIX) not in stored]
    if missing:
        raise ModelUnavailable("model_missing", model=model_id, missing=f"{part}: {missing[0]}")


def _latent_rgb(folder: Path, spec: ModelSpec, channels: int) -> torch.Tensor | None:
    """(C + 1, 3): the folder's own map from latents to colours, else that of its specification, else None."""
    import torch

    own = folder / LATENT_RGB
    rows = spec.latent_rgb
    if own.is_file():
        fitted = json.loads(own.read_text(encoding="utf-8"))
        rows = (*fitted["weight"], fitted["bias"])
    if not rows:
        return None
    matrix = torch.tensor(rows, dtype=torch.float32)
    if matrix.shape != (channels + 1, 3):
        raise ModelUnavailable("model_inconsistent", model=spec.id, part=LATENT_RGB)
    return matrix
