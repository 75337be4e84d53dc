"""What tells a pristine model from one that something was left on."""

from __future__ import annotations

import torch

from studio.engine.loaders import ComponentSet


def fingerprint(components: ComponentSet) -> object:
    """All of a pristine model that a leak could change."""
    found: list[object] = []
    for name, part in components.components.items():
        if isinstance(part, torch.nn.Module):
            tensors = [*part.named_parameters(), *part.named_buffers()]
            found.append([(one, tensor.shape, tensor.dtype, tensor.data_ptr()) for one, tensor in tensors])
            found.append([tensor.detach().double().sum().item() for _, tensor in tensors])
            found.append([type(module).__name__ for module in part.modules()])
            found.append([parameter.requires_grad for parameter in part.parameters()])
            found.append([len(module._forward_hooks) + len(module._forward_pre_hooks) for module in part.modules()])
            found.append([type(one).__name__ for one in getattr(part, "attn_processors", {}).values()])
            switches = [item for module in part.modules() for item in vars(module).items()]
            found.append([(key, value) for key, value in switches if isinstance(value, (bool, int, float, str))])
        found.append((name, str(getattr(part, "config", None))))
        if name.startswith("tokenizer"):
            found.append(len(part))
    return found
