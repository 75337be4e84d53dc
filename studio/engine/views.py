"""A view: a new pipeline object with a scheduler of its own over components that others use too.

Costs about a millisecond and no memory. Nothing of a call stays on the shared components: schedulers and
`guidance_scale` are state of the view, so views of one set may even run side by side.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from studio.construction import CONSTRUCTION_LOCK, imported
from studio.engine.loaders import ComponentSet
from studio.types import Scheduler

# diffusers' class, and what it must be told on top of the model's own scheduler configuration. Latents are never
# clipped. A zero-terminal-SNR schedule comes with that configuration: all four classes know
# `rescale_betas_zero_snr`, and all but DDIM then take alpha_bar = 2**-24 in place of the zero at the last timestep.
SCHEDULERS: Mapping[Scheduler, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        Scheduler.DDIM: ("DDIMScheduler", {"clip_sample": False}),
        Scheduler.EULER: ("EulerDiscreteScheduler", {}),
        Scheduler.DPMPP_2M: ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
        Scheduler.UNIPC: ("UniPCMultistepScheduler", {"predict_x0": True}),
    }
)
MOST_SCHEDULERS = 32


def build_scheduler(scheduler: Scheduler, base_config: Mapping[str, Any]) -> Any:
    """A new scheduler of diffusers that follows the noise schedule and spacing of the model's own."""
    return copy.deepcopy(_unused(scheduler, json.dumps(dict(base_config), sort_keys=True)))


@functools.lru_cache(MOST_SCHEDULERS)
def _unused(scheduler: Scheduler, base_config: str) -> Any:
    """One that nobody steps, to be copied: to make one takes three milliseconds. base_config: as JSON."""
    class_name, overrides = SCHEDULERS[scheduler]
    with CONSTRUCTION_LOCK:  # it looks at all classes that share its configuration
        return imported("diffusers", class_name).from_config(json.loads(base_config), **overrides)


def build_view(
    components: ComponentSet,
    pipeline_class: str,
    scheduler: Scheduler,
    further: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """A pipeline of diffusers, by the name of its class, over the shared components and further ones.

    Through the constructor: `from_pipe` would cast the shared modules to float32.
    """
    parts = {**components.components, **further}
    with CONSTRUCTION_LOCK:
        parts["scheduler"] = build_scheduler(scheduler, parts["scheduler"].config)
        checker = {"requires_safety_checker": False} if "safety_checker" in parts else {}  # SDXL's know none
        view = imported("diffusers", pipeline_class)(**parts, **checker)
    view.set_progress_bar_config(disable=True)
    return view
