"""From a ModelSpec to components in memory: the only code that reads weights or asks a hub.

A model is a folder in diffusers' format. Only safetensors are read, and only classes of diffusers and transformers
are built: a folder cannot bring code of its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.engine.construction import CONSTRUCTION_LOCK
from studio.errors import ModelUnavailable
from studio.types import ModelSpec, PipelineKey, Source

if TYPE_CHECKING:
    import torch

INDEX = "model_index.json"
LATENT_RGB = "vae/latent_rgb.json"
LIBRARIES = ("diffusers", "transformers")
# Parts of a Stable Diffusion folder that the studio does not run.
UNUSED_PARTS = ("safety_checker", "feature_extractor", "image_encoder")
READ_SUFFIXES = (".json", ".txt", ".safetensors")
# What a training leaves beside its weights; no part of the model.
REMARKS = ("metrics.json",)
# Half-precision and non-EMA copies that some repositories keep beside the weights.
COPIES = ("*.fp16.*", "*.non_ema.*")


@dataclass(frozen=True)
class ComponentSet:
    """One model in memory, pristine and shared: nothing is ever attached to it.

    components: diffusers' parts by name, the base scheduler among them. bytes: storage of all weights, each counted
    once. sha256: of the files it came from. latent_rgb: (C + 1, 3) float32, the UNet's latents and 1 to RGB in
    [-1, 1]. source: with the revision that was found.
    """

    components: Mapping[str, Any]
    spec: ModelSpec
    source: Source
    bytes: int
    sha256: str
    latent_rgb: torch.Tensor | None
    load_seconds: float


@dataclass(frozen=True)
class FolderLoader:
    """Loads a model from the first of its sources that is there. root: what local sources are relative to."""

    root: Path
    cache_dir: Path | None = None
    offline: bool = False

    def __call__(self, spec: ModelSpec, key: PipelineKey) -> ComponentSet:
        """Read the model in the key's dtype, onto its device. Raises ModelUnavailable, which says what is missing."""
        started = time.perf_counter()
        folder, source = self._find(spec)
        parts = read_parts(folder, spec.id)
        sha256 = folder_sha256(folder, parts)
        components = _load_components(folder, key)
        modules = [part for part in components.values() if hasattr(part, "parameters")]
        return ComponentSet(
            components=components,
            spec=spec,
            source=source,
            bytes=storage_bytes(modules),
            sha256=sha256,
            latent_rgb=_latent_rgb(folder, spec, components["unet"].config.in_channels),
            load_seconds=time.perf_counter() - started,
        )

    def _find(self, spec: ModelSpec) -> tuple[Path, Source]:
        """The folder of the first source that is at hand. Raises what the last one lacked."""
        failures = []
        for source in spec.sources:
            try:
                return self._fetch(spec, source)
            except ModelUnavailable as error:
                failures.append(error)
        raise failures[-1]

    def _fetch(self, spec: ModelSpec, source: Source) -> tuple[Path, Source]:
        """The folder of one source, downloaded if it is on a hub and nobody is offline."""
        match source.hub:
            case "local":
                folder = self.root / source.repo / source.subfolder
                if not (folder / INDEX).is_file():
                    raise ModelUnavailable("model_missing", model=spec.id, missing=INDEX)
                return folder, source
            case "huggingface":
                snapshot = self._download(spec, source)
                return snapshot / source.subfolder, replace(source, revision=snapshot.name)
            case "modelscope":
                raise ModelUnavailable("hub_not_supported", model=spec.id, hub=source.hub)

    def _download(self, spec: ModelSpec, source: Source) -> Path:
        """The snapshot of a Hugging Face repository: the index first, then only the parts that it names."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

        def fetch(patterns: list[str]) -> Path:
            prefix = f"{source.subfolder}/" if source.subfolder else ""
            return Path(
                snapshot_download(
                    source.repo,
                    revision=source.revision,
                    allow_patterns=[prefix + pattern for pattern in patterns],
                    ignore_patterns=list(COPIES),
                    cache_dir=self.cache_dir,
                    local_files_only=self.offline,
                )
            )

        try:
            index = fetch([INDEX]) / source.subfolder / INDEX
            parts = _used_parts(json.loads(index.read_text(encoding="utf-8")))
            return fetch([INDEX, *(f"{part}/*{suffix}" for part in parts for suffix in READ_SUFFIXES)])
        except (OSError, HfHubHTTPError) as error:
            raise ModelUnavailable("not_downloaded", model=spec.id, repo=source.repo) from error


def _used_parts(index: Mapping[str, Any]) -> dict[str, str]:
    """Name -> library of the parts that an index lists and the studio runs."""
    listed = {name: entry[0] for name, entry in index.items() if isinstance(entry, list) and entry[0]}
    return {name: library for name, library in listed.items() if name not in UNUSED_PARTS}


def read_parts(folder: Path, model_id: str) -> tuple[str, ...]:
    """The names of a folder's parts, once it is sure that their files are there and bring no code.

    Raises ModelUnavailable that names the missing file or the refused library.
    """
    parts = _used_parts(json.loads((folder / INDEX).read_text(encoding="utf-8")))
    for name, library in parts.items():
        if library not in LIBRARIES:
            raise ModelUnavailable("model_refused", model=model_id, part=name, library=library[:40])
        for missing in _missing_files(folder / name):
            raise ModelUnavailable("model_missing", model=model_id, missing=f"{name}/{missing}")
    return tuple(sorted(parts))


def _missing_files(part: Path) -> Iterable[str]:
    """What a part lacks: its configuration, or weights in safetensors (every shard that its index names)."""
    if (part / "tokenizer_config.json").is_file() or (part / "scheduler_config.json").is_file():
        return
    if not (part / "config.json").is_file():
        yield "config.json"
    shards = {
        shard
        for index in part.glob("*.safetensors.index.json")
        for shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    }
    yield from sorted(shard for shard in shards if not (part / shard).is_file())
    if not any(part.glob("*.safetensors")):
        yield "*.safetensors"


def folder_sha256(folder: Path, parts: Iterable[str]) -> str:
    """One hash over the names and contents of all files that a model is read from; cards and metrics do not count."""
    files = [folder / INDEX, *(file for part in parts for file in (folder / part).iterdir())]
    total = hashlib.sha256()
    for file in sorted(file for file in files if file.suffix in READ_SUFFIXES and file.name not in REMARKS):
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        total.update(f"{file.relative_to(folder).as_posix()} {digest}\n".encode())
    return total.hexdigest()


def storage_bytes(modules: Iterable[torch.nn.Module]) -> int:
    """The bytes of all parameters and buffers, storage that is shared counted once."""
    tensors = itertools.chain.from_iterable((*module.parameters(), *module.buffers()) for module in modules)
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _quiet() -> None:
    """Keep progress bars out of the log, and diffusers' warnings: one of them quotes what is cut from a prompt."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    for name in ("diffusers.pipelines", "diffusers.configuration_utils"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _load_components(folder: Path, key: PipelineKey) -> dict[str, Any]:
    """The parts of a folder that has been looked through, frozen, in the key's dtype and on its device."""
    import torch
    from diffusers import DiffusionPipeline

    _quiet()
    pipeline_class: Any = DiffusionPipeline
    with CONSTRUCTION_LOCK:
        pipeline = pipeline_class.from_pretrained(
            folder,
            dtype=getattr(torch, key.dtype),
            use_safetensors=True,
            local_files_only=True,
            requires_safety_checker=False,
            **dict.fromkeys(UNUSED_PARTS),
        ).to(key.device)
    components: dict[str, Any] = pipeline.components
    for part in components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
    return components


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
