"""A base that stays as it is while something is trained on top of it."""

from __future__ import annotations

import hashlib

import torch


def freeze(base: torch.nn.Module) -> str:
    """Switch the base's gradients off; returns what it weighs, for `require_unchanged`."""
    base.requires_grad_(False)
    base.eval()
    return state_sha256(base)


def require_unchanged(base: torch.nn.Module, before: str) -> None:
    """Raises RuntimeError if the base weighs something else than `freeze` said: what was trained on it is no good."""
    if state_sha256(base) != before:
        raise RuntimeError("the frozen base has changed while something was trained on it")


def state_sha256(module: torch.nn.Module) -> str:
    """One hash over all weights of a module in memory."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
