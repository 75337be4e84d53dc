"""ControlNets as one view calls them: the shared weights in a body of the view's own, which does no work twice.

A map is the same at every step, so it is embedded once. At a scale of 0, as outside of the steps that a unit acts in,
what would be added is zero and is not computed. Neither changes a bit of the picture. Imports torch.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

Draw = Callable[..., Sequence[torch.Tensor] | None]
"""(sample, timestep, encoder_hidden_states, embedded map) to the residuals before scaling, the mid block's last; None
where it cannot."""
HINT = "controlnet_cond_embedding"
UNKNOWN = (
    "class_labels",
    "timestep_cond",
    "attention_mask",
    "added_cond_kwargs",
    "cross_attention_kwargs",
    "guess_mode",
)
"""Arguments of a ControlNet's call that `Draw` knows nothing of."""


class Remembered(torch.nn.Module):
    """A module that is called with the same tensor again and again."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module
        self._seen: torch.Tensor | None = None
        self._answer: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x is not self._seen:
            self._seen, self._answer = x, self.module(x)
        return self._answer


def of_one_view(controlnet: Any, draw_of: Callable[[Any], Draw | None]) -> Any:
    """The ControlNet of a view, or its several ones, for that view alone. draw_of(network): what draws it, if not
    PyTorch."""
    if not hasattr(controlnet, "nets"):
        return _own_body(controlnet, draw_of(controlnet))
    several = type(controlnet)([_own_body(one, draw_of(one)) for one in controlnet.nets])
    several.forward = functools.partial(_sum_of, several.nets)
    return several


def _sum_of(
    networks: Sequence[Any],
    sample: torch.Tensor,
    timestep: Any,
    encoder_hidden_states: torch.Tensor,
    controlnet_cond: Sequence[torch.Tensor],
    conditioning_scale: Sequence[float],
    **others: Any,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """As MultiControlNetModel.forward, which adds to the first one's middle in place: that may be one zero here."""
    units = zip(networks, controlnet_cond, conditioning_scale, strict=True)
    found = [unit(sample, timestep, encoder_hidden_states, hint, scale, **others) for unit, hint, scale in units]
    down, mid = found[0]
    for more, further in found[1:]:
        down, mid = [one + other for one, other in zip(down, more, strict=True)], mid + further
    return down, mid


def _own_body(module: Any, draw: Draw | None) -> Any:
    """A shallow copy, whose parts are the shared ones but for what remembers; pipelines ask for its class."""
    body = copy.copy(module)
    body._modules = {**module._modules, HINT: Remembered(getattr(module, HINT))}
    stock = type(module).forward

    def forward(
        sample: torch.Tensor,
        timestep: Any,
        encoder_hidden_states: torch.Tensor,
        controlnet_cond: torch.Tensor,
        conditioning_scale: float = 1.0,
        return_dict: bool = True,
        **others: Any,
    ) -> Any:
        """As ControlNetModel.forward. A residual that is zero everywhere is one zero, (1, 1, 1, 1)."""
        if conditioning_scale == 0 and not return_dict:
            silent = torch.zeros(1, 1, 1, 1, dtype=sample.dtype, device=sample.device)
            return [silent] * len(module.controlnet_down_blocks), silent
        plain = not return_dict and not module.config.global_pool_conditions and not any(map(others.get, UNKNOWN))
        if draw is not None and plain:
            hint = body._modules[HINT](controlnet_cond)
            residuals = draw(sample, timestep, encoder_hidden_states, hint)
            if residuals is not None:
                *down, mid = (residual * conditioning_scale for residual in residuals)
                return down, mid
        return stock(
            body,
            sample,
            timestep,
            encoder_hidden_states,
            controlnet_cond,
            conditioning_scale,
            return_dict=return_dict,
            **others,
        )

    body.forward = forward
    return body
