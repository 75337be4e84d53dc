"""A network that OpenVINO computes, called as the PyTorch one that it was made of."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from studio.engine.clone import clone_shared
from studio.engine.openvino import Graph, GuidedGraph, Runtime, convert_module, convert_unet, import_openvino
from studio.quant.coverage import Coverage
from studio.types import Precision

if TYPE_CHECKING:
    from studio.engine.openvino import Call

EXAMPLE_BATCH = 2


def _unbilled(change_bytes: int) -> None:
    """What it takes is billed as a whole: `held_bytes`."""


class OpenVinoNetwork(nn.Module):
    """Runs a model of open shapes, compiled for each shape that comes.

    held_bytes: what it takes in memory, by its weights; backend: the name that a picture's record has for it.
    """

    backend = "openvino"

    def __init__(self, model: Any, precision: Precision, coverage: Coverage, config: Any = None) -> None:
        super().__init__()
        self.model, self.precision, self.coverage, self.config = model, precision, coverage, config
        self.dtype, self.device = torch.float32, torch.device("cpu")
        self.held_bytes = constant_bytes(model)
        self.forget()

    def forget(self) -> None:
        """Drop what was compiled."""
        runtime = Runtime(torch.get_num_threads())
        self._graph, self._guided = Graph(runtime, self.model, 0), GuidedGraph(runtime, self.model, 0)
        self._calls: dict[Any, Call] = {}

    def run(self, *inputs: Tensor, halves_are_equal: bool = False) -> Tensor:
        """The first output for these inputs, in a tensor of its own."""
        graph = self._guided if halves_are_equal else self._graph
        key = graph, tuple(tuple(one.shape) for one in inputs)
        if key not in self._calls:
            self._calls[key] = graph.call(key[1], self.precision, _unbilled)
        return self._calls[key](*inputs)

    def disk_bytes(self) -> int:
        """What the model takes as files, weights and graph, written in the precision that it has."""
        with tempfile.TemporaryDirectory() as folder:
            import_openvino().save_model(self.model, Path(folder) / "model.xml", compress_to_fp16=False)
            return sum(path.stat().st_size for path in Path(folder).iterdir())


class OpenVinoUNet(OpenVinoNetwork):
    """In the place of diffusers' UNet2DConditionModel."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        return_dict: bool = True,
        **others: Any,
    ) -> Any:
        """sample (B, C, h, w), timestep (), encoder_hidden_states (B, tokens, D); the prediction (B, C, h, w).

        Raises TypeError for what the converted graph knows nothing of.
        """
        if unknown := [name for name, value in others.items() if value is not None]:
            raise TypeError(f"the converted UNet takes no {', '.join(unknown)}")
        half = len(sample) // 2
        guided = len(sample) == 2 * half and sample[:half].equal(sample[half:])
        time = torch.as_tensor(timestep).to("cpu", copy=False).float().reshape(())
        output = self.run(sample, time, encoder_hidden_states, halves_are_equal=guided)
        return SimpleNamespace(sample=output) if return_dict else (output,)


@dataclass(frozen=True)
class PixelConfig:
    """What is computed outside of the graph: which label is none, and the code of the time. In bfloat16 neighbouring
    times would be one."""

    null_label: int
    code: nn.Module

    def inputs(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """xt (B, C, H, W), t (B,), labels (B,) or None -> the same, the code (B, dim) and labels (B,)."""
        labels = torch.full_like(t, self.null_label, dtype=torch.int64) if labels is None else labels.expand(len(t))
        return xt, self.code(t), labels.contiguous()


class OpenVinoPixelUNet(OpenVinoNetwork):
    """In the place of the studio's own UNet on pixels."""

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """xt (B, C, H, W), t (B,), labels (B,) int64 or None for no label; the prediction (B, C, H, W)."""
        return self.run(*self.config.inputs(xt, t, labels))


def open_model(net: nn.Module) -> tuple[Any, type[OpenVinoNetwork], Any]:
    """The converted network, what stands in its place, and what that has to know. The weights are shared.

    Raises TypeError for a network of another kind.
    """
    from studio.diffusion.unet import UNet

    if isinstance(net, UNet):
        coded = clone_shared(net)
        pixels = PixelConfig(net.null_label, net.time[0])
        coded.time[0] = nn.Identity()
        side = net.patch * 2 ** (net.levels + 1)
        noise = torch.zeros(EXAMPLE_BATCH, net.first.in_channels // net.patch**2, side, side)
        examples = pixels.inputs(noise, torch.zeros(EXAMPLE_BATCH, dtype=torch.int64))
        return convert_module(coded, examples), OpenVinoPixelUNet, pixels
    config = getattr(net, "config", None)
    if config is None or not hasattr(config, "cross_attention_dim") or config.addition_embed_type is not None:
        raise TypeError(type(net).__name__)
    return convert_unet(net)[0], OpenVinoUNet, config


def constant_bytes(model: Any) -> int:
    """The bytes of all weights of a model of OpenVINO."""
    return sum(op.get_byte_size() for op in model.get_ordered_ops() if op.get_type_name() == "Constant")
