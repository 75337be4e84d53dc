"""What computes a picture: PyTorch always can; on a CPU, OpenVINO does the UNet and the decoder in less time.

Stand-ins for both take their places on a view of its own. Where OpenVINO cannot draw what is asked for, PyTorch does,
and the picture's notes say so. One request on one machine is always drawn by the same of the two.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from studio.engine.memory import storage_bytes
from studio.engine.openvino import (
    Bill,
    Call,
    Graph,
    GuidedGraph,
    ManyCall,
    ManyGraph,
    Runtime,
    Shapes,
    convert_controlnet,
    convert_decoder,
    convert_unet,
)
from studio.engine.quantized import PLAIN
from studio.errors import ModelUnavailable, StudioError
from studio.types import PipelineKey, Precision, Task

if TYPE_CHECKING:
    import torch

    from studio.engine.controlnets import Draw
    from studio.engine.registry import Lease

AUTO, TORCH, OPENVINO = "auto", "torch", "openvino"
MID, DOWN = "mid_block_additional_residual", "down_block_additional_residuals"
ADDED = ("text_embeds", "time_ids")
UNET_INPUTS = {MID, DOWN, "added_cond_kwargs"}
logger = logging.getLogger(__name__)


def open_runtime(backend: str, device: str, threads: int) -> Runtime | None:
    """OpenVINO's runtime where it shall draw, else None. backend: auto, torch or openvino.

    Raises StudioError if it is asked for by name and not there, or for another device than the CPU.
    """
    if backend == TORCH or (backend == AUTO and device != "cpu"):
        return None
    if device != "cpu":
        raise StudioError("openvino_only_cpu", device=device)
    try:
        return Runtime(threads)
    except (ImportError, RuntimeError) as error:
        if backend == OPENVINO:
            raise StudioError("openvino_missing", reason=str(error)[:200]) from error
        logger.info("OpenVINO is not used: %s", error)
        return None


@dataclass(frozen=True)
class Graphs:
    """The parts of one component set that OpenVINO draws."""

    runtime: Runtime
    unet: Graph
    guided_unet: GuidedGraph
    """The UNet where both halves of a batch are the same latents."""
    controlled_unet: Graph
    """The UNet with ControlNet's residuals as further inputs."""
    decoder: Graph


@dataclass(frozen=True)
class ControlGraphs:
    """The one part of a ControlNet's set."""

    runtime: Runtime
    controlnet: ManyGraph


def convert(runtime: Runtime, components: Mapping[str, Any]) -> Graphs | ControlGraphs | None:
    """The graphs of a set of float32 components; they share its weights. Takes a second for the little world.

    None where there is nothing that OpenVINO could draw.
    """
    if "controlnet" in components:
        controlnet = components["controlnet"]
        if controlnet.config.addition_embed_type is not None:
            return None
        graph = ManyGraph(runtime, convert_controlnet(controlnet), storage_bytes([controlnet]))
        return ControlGraphs(runtime, graph)
    if "unet" not in components:
        return None
    unet, vae = components["unet"], components["vae"]
    plain, controlled = convert_unet(unet)
    unet_bytes, vae_bytes = storage_bytes([unet]), storage_bytes([vae.decoder])
    return Graphs(
        runtime,
        Graph(runtime, plain, unet_bytes),
        GuidedGraph(runtime, plain, unet_bytes),
        Graph(runtime, controlled, unet_bytes),
        Graph(runtime, convert_decoder(vae), vae_bytes),
    )


@dataclass
class Backing:
    """What computes one view's pictures. Settled when they are drawn."""

    name: str = TORCH
    notes: tuple[str, ...] = ()

    def refused(self) -> None:
        """There was no room for OpenVINO's graph in memory."""
        self.name, self.notes = TORCH, ("no_room_for_openvino",)


def install(view: Any, precision: Precision, lease: Lease) -> Backing:
    """Put the stand-ins into a view that they can draw for: a UNet that is not the set's own (a clone with adapters)
    is drawn by PyTorch, and a quantized one computes itself."""
    if lease.pipeline.quant_id != PLAIN:
        return Backing(getattr(view.unet, "backend", TORCH))
    graphs: Graphs | None = lease.pristine.graphs
    if getattr(view, "controlnet", None) is not None:
        from studio.engine.controlnets import of_one_view

        view.controlnet = of_one_view(view.controlnet, partial(_drawn, lease, precision))
    if graphs is None:
        return Backing(notes=_torch_notes(precision, lease.pipeline))
    if view.unet is not lease.pristine.components["unet"]:
        return Backing(notes=("drawn_by_torch",))
    slow = precision is Precision.FAST and not graphs.runtime.has_bfloat16
    backing = Backing(OPENVINO, ("fast_not_on_this_cpu",) if slow else ())
    view.unet = UNetStandIn(view.unet, graphs, precision, lease.bill, backing)
    view.vae = DecoderStandIn(view.vae, graphs.decoder, precision, lease.bill, backing)
    return backing


def _drawn(lease: Lease, precision: Precision, controlnet: Any) -> Draw | None:
    """What draws a ControlNet of a lease in OpenVINO; None where PyTorch does, or where there is no room for it."""
    for one, bill in lease.steering_sets:
        if one.graphs is not None and one.components["controlnet"] is controlnet:
            return ControlNetStandIn(controlnet, one.graphs.controlnet, precision, bill, Backing()).draw
    return None


def prepare(lease: Lease) -> None:
    """Compile what one picture with a model's own settings needs, before anybody asks for one. Runs no model.

    A UNet that reads more than latents, time and text is left to its first picture, as is what there is no room for.
    """
    graphs: Graphs | None = lease.pristine.graphs
    if graphs is None or len(graphs.unet.inputs) != 3:
        return
    own, view = lease.spec.defaults, lease.view(Task.TEXT_TO_IMAGE, lease.spec.defaults.scheduler)
    sides = (own.height // view.vae_scale_factor, own.width // view.vae_scale_factor)
    batch, unet = (2, graphs.guided_unet) if own.guidance_scale > 1.0 else (1, graphs.unet)
    context = (batch, view.tokenizer.model_max_length, view.unet.config.cross_attention_dim)
    latents = view.vae.config.latent_channels
    try:
        unet.compiled(((batch, latents, *sides), (), context), own.precision, lease.bill)
        graphs.decoder.compiled(((1, latents, *sides),), own.precision, lease.bill)
    except ModelUnavailable as error:
        logger.info("nothing is compiled ahead: %s", error)


def _torch_notes(precision: Precision, key: PipelineKey) -> tuple[str, ...]:
    """What PyTorch does otherwise than it was asked."""
    if key.device == "cpu" and precision is Precision.FAST:
        return ("fast_needs_openvino",)
    if precision is Precision.EXACT and key.dtype != "float32":
        return ("exact_needs_float32",)
    return ()


def _are_silent(residuals: Sequence[torch.Tensor]) -> bool:
    """Whether residuals add nothing anywhere: one zero stands for all."""
    return all(one.numel() == 1 and not one.any() for one in residuals)


class StandIn:
    """Takes the place of a module in a pipeline; what else is read of it is read of the module itself."""

    def __init__(self, module: Any, precision: Precision, bill: Bill, backing: Backing) -> None:
        self._module = module
        self._precision = precision
        self._bill = bill
        self._backing = backing
        self._calls: dict[tuple[Graph, Shapes], Call | None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def _draw(self, graph: Graph, *inputs: torch.Tensor) -> torch.Tensor | None:
        """The graph's output, or None where there is no room for the graph in memory."""
        call = self._call(graph, inputs)
        return call(*inputs) if call is not None else None

    def _call(self, graph: Graph, inputs: tuple[torch.Tensor, ...]) -> Call | None:
        """What runs the graph for these inputs, or None where there is no room for it in memory."""
        shapes = tuple(tuple(tensor.shape) for tensor in inputs)
        if (graph, shapes) not in self._calls:
            try:
                self._calls[graph, shapes] = graph.call(shapes, self._precision, self._bill)
            except ModelUnavailable:
                self._backing.refused()
                self._calls[graph, shapes] = None
        return self._calls[graph, shapes]


class UNetStandIn(StandIn):
    """A UNet2DConditionModel, called as stock pipelines call it, with a ControlNet's residuals or without."""

    def __init__(self, unet: Any, graphs: Graphs, precision: Precision, bill: Bill, backing: Backing) -> None:
        super().__init__(unet, precision, bill, backing)
        self._graphs = graphs

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = True,
        **others: Any,
    ) -> Any:
        """sample (B, C, h, w), timestep (), encoder_hidden_states (B, tokens, D); the prediction (B, C, h, w).

        Raises TypeError for what the converted graph knows nothing of.
        """
        given = {name: value for name, value in others.items() if value is not None}
        if unknown := given.keys() - UNET_INPUTS:
            raise TypeError(f"the converted UNet takes no {', '.join(sorted(unknown))}")
        added = given.get("added_cond_kwargs") or {}
        residuals = (given[MID], *given.get(DOWN, ())) if MID in given else ()
        if _are_silent(residuals):
            residuals = ()
        graph = self._graphs.controlled_unet if residuals else self._uncontrolled(sample)
        time = timestep.to("cpu", copy=False).float().reshape(())
        output = self._draw(
            graph, sample, time, encoder_hidden_states, *(added[name] for name in ADDED if name in added), *residuals
        )
        if output is None:
            return self._module(sample, timestep, encoder_hidden_states, return_dict=return_dict, **given)
        return SimpleNamespace(sample=output) if return_dict else (output,)

    def _uncontrolled(self, sample: torch.Tensor) -> Graph:
        """The graph for a sample (B, C, h, w) without residuals."""
        half = len(sample) // 2
        is_guided = len(sample) == 2 * half and sample[:half].equal(sample[half:])
        return self._graphs.guided_unet if is_guided else self._graphs.unet


class ControlNetStandIn(StandIn):
    """The residuals of a ControlNet, computed by OpenVINO."""

    def __init__(self, controlnet: Any, graph: ManyGraph, precision: Precision, bill: Bill, backing: Backing) -> None:
        super().__init__(controlnet, precision, bill, backing)
        self._graph = graph

    def draw(
        self, sample: torch.Tensor, timestep: torch.Tensor, words: torch.Tensor, hint: torch.Tensor
    ) -> list[torch.Tensor] | None:
        """As `controlnets.Draw`: sample (B, C, h, w), words (B, tokens, D), hint (B or 1, C_0, h, w)."""
        hint = hint.expand(len(sample), -1, -1, -1)
        inputs = (sample, timestep.to("cpu", copy=False).float().reshape(()), words, hint)
        call = self._call(self._graph, inputs)
        return call.all(*inputs) if isinstance(call, ManyCall) else None


class DecoderStandIn(StandIn):
    """An autoencoder whose latents are decoded by OpenVINO; encoding is the module's own."""

    def __init__(self, vae: Any, graph: Graph, precision: Precision, bill: Bill, backing: Backing) -> None:
        super().__init__(vae, precision, bill, backing)
        self._graph = graph

    def decode(self, latents: torch.Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        """latents (B, C, h, w), divided by the scaling factor, to pixels (B, 3, H, W)."""
        output = self._draw(self._graph, latents)
        if output is None:
            return self._module.decode(latents, return_dict=return_dict)
        return SimpleNamespace(sample=output) if return_dict else (output,)
