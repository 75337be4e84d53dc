"""Two models that hold the same part hold it once: fine-tunes mostly share an autoencoder, variants of a quantized
UNet all but the UNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.engine.loaders import ComponentSet
from studio.engine.memory import storages

if TYPE_CHECKING:
    import torch


def with_shared_parts(loaded: ComponentSet, resident: Sequence[ComponentSet]) -> ComponentSet:
    """The loaded model with those parts replaced that a resident one has in the same way; what they took is freed.

    Models are pristine and never written to, so that sharing changes no picture. What OpenVINO draws was made of its
    own parts, and keeps them.
    """
    if loaded.graphs is not None:
        return loaded
    parts = {name: _shared(part, name, resident) for name, part in loaded.components.items()}
    if all(part is loaded.components[name] for name, part in parts.items()):
        return loaded
    return replace(loaded, components=parts, bytes=sum(storages(parts.values()).values()))


def _shared(part: Any, name: str, resident: Sequence[ComponentSet]) -> Any:
    """A resident part that is equal to this one, or itself."""
    import torch

    if isinstance(part, torch.nn.Module):
        others = (one.components.get(name) for one in resident)
        for other in (one for one in others if isinstance(one, torch.nn.Module) and type(one) is type(part)):
            if _config(other) == _config(part) and _is_equal(other, part):
                return other
    return part


def _config(module: Any) -> Mapping[str, Any]:
    """How a module was built, without where it was read from."""
    config = getattr(module, "config", {})
    plain: Mapping[str, Any] = config.to_dict() if hasattr(config, "to_dict") else config
    return {key: value for key, value in plain.items() if not key.startswith("_")}


def _is_equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two modules hold equal tensors of the same kind. Ends at the first that differs."""
    import torch

    mine, yours = ({**dict(part.named_parameters()), **dict(part.named_buffers())} for part in (one, other))
    if mine.keys() != yours.keys():
        return False
    pairs = [(tensor, yours[name]) for name, tensor in mine.items()]
    alike = all((a.dtype, a.device, a.shape) == (b.dtype, b.device, b.shape) for a, b in pairs)
    return alike and all(torch.equal(a, b) for a, b in pairs)
