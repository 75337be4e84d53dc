"""Does a method run here? Tried on a network of a few thousand weights: that a package can be imported says little."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from studio.errors import ModelUnavailable, StudioError
from studio.quant.method import QuantMethod, QuantUse, require_backend

if TYPE_CHECKING:
    from torch import nn

    from studio.quant.method import Call

SIDE, CALLS, CLASSES = 8, 8, 3
MOST_ERROR = 1.0
"""Of the answer's own size: further away, what runs is not the network."""
logger = logging.getLogger(__name__)


def probe(method: QuantMethod, device: str) -> StudioError | None:
    """Why a method does not run on a device, or None. Uses the method's default bits. One that was made for a single
    model is not tried: it is that model's own code."""
    try:
        require_backend(method, device)
        if method.only:
            return None
        error = tried(method, device)
    except StudioError as refused:
        return refused
    except Exception as failed:  # whatever a foreign package raises is what is asked for here
        logger.info("%s does not run here", method.id, exc_info=failed)
        return ModelUnavailable("quant_does_not_run", method=method.id, reason=told(failed))
    if not error <= MOST_ERROR:
        return ModelUnavailable("quant_does_not_run", method=method.id, reason=f"relative error {error:.2g}")
    return None


def tried(method: QuantMethod, device: str) -> float:
    """How far a quantized tiny network's answer is from the plain one's, of its size. Raises whatever goes wrong."""
    import torch

    net, calls = tiny(device)
    use = QuantUse(method, method.weight_bits[0], method.activation_bits[0])
    quantized = method.apply(net, use.recipe(calls)).eval()
    with torch.inference_mode():
        args, kwargs = calls[CALLS // 2]
        expected, answer = net(*args, **kwargs), quantized(*args, **kwargs)
    return float((answer - expected).norm() / expected.norm())


def tiny(device: str) -> tuple[nn.Module, list[Call]]:
    """A UNet on pixels with random weights, and calls from noise to picture."""
    import torch

    from studio.diffusion.unet import UNet

    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = UNet(dim=8, dim_mults=(1, 2), classes=CLASSES).eval().requires_grad_(False).to(device)
    x = torch.randn((2, 3, SIDE, SIDE), generator=generator).to(device)
    times = [torch.full((2,), t, device=device) for t in torch.linspace(999, 0, CALLS).int().tolist()]
    return net, [((x, t, torch.full_like(t, i % (CLASSES + 1))), {}) for i, t in enumerate(times)]


def told(error: Exception) -> str:
    """An error of another package in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:200] if lines else type(error).__name__
