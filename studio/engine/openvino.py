"""OpenVINO on a CPU: parts of a model, converted from PyTorch in memory and compiled for the shapes that are drawn.

A graph of fixed shapes takes 0.8 of the time of one whose shapes are left open, and compiles in about half a second.
Nothing is kept on disk: converting the little world takes a second.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from studio.construction import CONSTRUCTION_LOCK
from studio.engine.openvino_rewrites import split_gates, split_guidance, with_shapes
from studio.types import Precision

if TYPE_CHECKING:
    import torch

Shapes = tuple[tuple[int, ...], ...]
Bill = Callable[[int], None]
"""Told how many bytes more (or, negative, fewer) are taken; raises ModelUnavailable where there is no room for them."""

HINTS: Mapping[Precision, str] = MappingProxyType({Precision.EXACT: "f32", Precision.FAST: "bf16"})
BYTES_PER_WEIGHT_BYTE: Mapping[Precision, float] = MappingProxyType({Precision.EXACT: 2.1, Precision.FAST: 1.6})
"""What a compiled graph was seen to take, for each byte of float32 weights: its own copy, in its own order."""
MOST_COMPILED = 3
"""Graphs of one part at a time: sizes, numbers of images and precisions that were used last."""


def import_openvino() -> Any:
    """The package, kept from reporting its use to its maker. Raises ImportError where it is not installed."""
    # It imports this reporter where it can, which writes into the home folder and calls a server.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class Runtime:
    """OpenVINO's CPU device. threads: 0 for as many as it chooses. Raises ImportError where it is not installed."""

    def __init__(self, threads: int = 0) -> None:
        openvino = import_openvino()
        self._core = openvino.Core()
        self._options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self.version: str = openvino.__version__
        capabilities: Sequence[str] = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.has_bfloat16 = "BF16" in capabilities

    def compile(self, model: Any, precision: Precision) -> Any:
        """A model that can be called. What the precision asks for is done where this CPU can."""
        hint = HINTS[precision if self.has_bfloat16 else Precision.EXACT]
        return self._core.compile_model(model, "CPU", {**self._options, "INFERENCE_PRECISION_HINT": hint})


class Graph:
    """One converted part of a model, and what was compiled of it. Threads may share it; the last used stay."""

    def __init__(self, runtime: Runtime, model: Any, weight_bytes: int) -> None:
        self._runtime = runtime
        self._model = model
        self._weight_bytes = weight_bytes
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[Precision, Shapes], tuple[Any, ...]] = OrderedDict()

    @property
    def inputs(self) -> Sequence[Any]:
        return self._model.inputs  # type: ignore[no-any-return]

    def call(self, shapes: Shapes, precision: Precision, bill: Bill) -> Call:
        """What runs the graph for inputs of these shapes, compiled if it is not yet. Raises what `bill` raises."""
        return Call(*self.compiled(shapes, precision, bill))

    def compiled(self, shapes: Shapes, precision: Precision, bill: Bill) -> tuple[Any, ...]:
        """The graph for these shapes, in its parts. Raises what `bill` raises."""
        with self._lock:
            key = (precision, shapes)
            if key not in self._compiled:
                self._make(key, bill)
            self._compiled.move_to_end(key)
            return self._compiled[key]

    def _make(self, key: tuple[Precision, Shapes], bill: Bill) -> None:
        """Compile, in place of the longest unused one where there are enough."""
        while len(self._compiled) >= MOST_COMPILED:
            (precision, _), _ = self._compiled.popitem(last=False)
            bill(-self._bytes(precision))
        precision, shapes = key
        bill(self._bytes(precision))
        try:
            parts = self._cut(shapes)
            self._compiled[key] = tuple(self._runtime.compile(part, precision) for part in parts)
        except BaseException:
            bill(-self._bytes(precision))
            raise

    def _cut(self, shapes: Shapes) -> tuple[Any, ...]:
        """The models of fixed shapes that are compiled."""
        return (with_shapes(self._model, shapes),)

    def _bytes(self, precision: Precision) -> int:
        return int(self._weight_bytes * BYTES_PER_WEIGHT_BYTE[precision])


class GuidedGraph(Graph):
    """A UNet for samples whose second half repeats the first one, as guidance asks it."""

    def call(self, shapes: Shapes, precision: Precision, bill: Bill) -> Call:
        return GuidedCall(*self.compiled(shapes, precision, bill))

    def _cut(self, shapes: Shapes) -> tuple[Any, ...]:
        return split_guidance(self._model, shapes)


class Call:
    """Runs one compiled graph, for one thread at a time."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The graph's first output for these inputs, as a tensor of its own."""
        return _tensor(_outputs(self._request, map(_array, inputs))[0])


class ManyGraph(Graph):
    """A part of a model with several outputs, all of which are wanted."""

    def call(self, shapes: Shapes, precision: Precision, bill: Bill) -> ManyCall:
        return ManyCall(*self.compiled(shapes, precision, bill))


class ManyCall(Call):
    """Runs one compiled graph, for one thread at a time."""

    def all(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Every output of the graph for these inputs, as tensors of their own."""
        return [_tensor(one) for one in _outputs(self._request, map(_array, inputs))]


class GuidedCall(Call):
    """Runs one step, and what is of the prompt alone only when the prompt is another one than at the step before."""

    def __init__(self, of_prompt: Any, step: Any) -> None:
        super().__init__(step)
        self._prompt_request = of_prompt.create_infer_request()
        self._prompt: tuple[torch.Tensor, ...] = ()
        self._of_prompt: list[Any] = []

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """sample (2 B, C, h, w) of equal halves, timestep, what speaks of the prompt; the prediction (2 B, C, h, w)."""
        sample, timestep, *prompt = inputs
        if len(prompt) != len(self._prompt) or any(a is not b for a, b in zip(prompt, self._prompt, strict=True)):
            self._prompt = tuple(prompt)
            self._of_prompt = [one.copy() for one in _outputs(self._prompt_request, map(_array, prompt))]
        half = sample[: len(sample) // 2]
        return _tensor(_outputs(self._request, [_array(half), _array(timestep), *self._of_prompt])[0])


def _array(tensor: torch.Tensor) -> Any:
    return tensor.contiguous().numpy()


def _tensor(array: Any) -> torch.Tensor:
    """A tensor of its own."""
    import torch

    return torch.from_numpy(array.copy())


def _outputs(request: Any, inputs: Iterable[Any]) -> list[Any]:
    """What a request computes of its inputs, in memory that its next call writes to."""
    request.infer(list(inputs), share_inputs=True)
    return [tensor.data for tensor in request.output_tensors]


def convert_unet(unet: Any) -> tuple[Any, Any]:
    """A UNet2DConditionModel as two models of open shapes: without ControlNet's residuals, and with them.

    Inputs: sample (B, C, h, w), timestep (), encoder_hidden_states (B, tokens, D), SDXL's text_embeds and time_ids
    where the UNet has them, then mid residual and down residuals; all float32. They share the UNet's own weights.
    """
    from studio.engine import openvino_traced as traced

    examples = traced.unet_examples(unet)
    residuals = 1 + traced.residual_count(unet)
    model = convert_module(traced.TracedUNet(unet, time_text=len(examples) - residuals > 3), examples)
    split_gates(model)
    return _with_zeros(model, residuals), model


def convert_controlnet(controlnet: Any) -> Any:
    """A ControlNetModel as a model of open shapes: sample (B, C, h, w), timestep (), encoder_hidden_states
    (B, tokens, D) and the embedded map (B, C_0, h, w), all float32, to its residuals, the mid block's last."""
    from studio.engine import openvino_traced as traced

    model = convert_module(traced.TracedControlNet(controlnet), traced.controlnet_examples(controlnet))
    split_gates(model)
    return model


def convert_decoder(vae: Any) -> Any:
    """The decoder of an autoencoder as a model of open shapes: latents (B, C, h, w) to pixels (B, 3, H, W)."""
    from studio.engine import openvino_traced as traced

    return convert_module(traced.TracedDecoder(vae), traced.decoder_example(vae))


def convert_module(module: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> Any:
    """A module as OpenVINO's model of open shapes, with one input for each example, of its type."""
    import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from studio.engine.openvino_traced import trace

    with CONSTRUCTION_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a tracer warns of every branch that it does not follow
        decoder = TorchScriptPythonDecoder(trace(module, examples))
        frontend = FrontEndManager().load_by_framework("pytorch")
        return frontend.convert(frontend.load(decoder))


def _with_zeros(model: Any, count: int) -> Any:
    """The same model whose last `count` inputs are zero: what is added there falls away when it is compiled."""
    import numpy as np

    constant = import_openvino().opset13.constant
    without = model.clone()
    for parameter in without.get_parameters()[-count:]:
        parameter.output(0).replace(constant(np.zeros((1, 1, 1, 1), np.float32)).output(0))
        without.remove_parameter(parameter)
    without.validate_nodes_and_infer_types()
    return without
