"""Is TDQ worth it on real int8 kernels? oneDNN's convolution takes the step of its input at run time, so that a table
over t can drive it and no graph is built anew for each t (So et al., 2306.02316, leave this open).

The DDPM on pixels: every layer that TDQ quantizes is computed by that kernel, and the network is timed against its
float32 and its bfloat16 by PyTorch, all layer by layer as PyTorch runs them. Rounding the input is a pass of its own
over it; what it costs is part of what is asked.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from studio.bench.timing import interleave, median_row, ratio_row
from studio.diffusion.quantizers import QuantizedLayer, TableQuantizer, replace
from studio.engine.comparison_subjects import pixel_calls
from studio.engine.pixel import CONFIG, PixelModel
from studio.evaluate.report import ReportRow
from studio.quant.method import Recipe
from studio.quant.plain import BF16
from studio.quant.simulated_methods import SIMULATED

BATCHES = (2, 32)
"""One picture with guidance, and many."""
MID_TIME = 500
LARGEST_INT8 = 127
onednn = torch.ops.onednn


class KernelConv(nn.Module):
    """A convolution whose input is rounded to bytes with the step and zero level of the time, and whose products are
    whole numbers. The weight, which `simulate` has rounded already, is rounded once more, to the symmetric levels of
    each output channel that the kernel takes.

    x: (B, C, H, W) of one time, in float32; returns float32. quantized: a layer of a network that `simulate` made.
    """

    def __init__(self, quantized: QuantizedLayer) -> None:
        super().__init__()
        layer, inputs = quantized.layer, quantized.inputs
        if not isinstance(layer, nn.Conv2d) or not isinstance(inputs, TableQuantizer):
            raise TypeError(f"no kernel for {type(layer).__name__} after {type(inputs).__name__}")
        self.inputs, self.bias = inputs, layer.bias
        self.places = [list(one) for one in (layer.stride, layer.padding, layer.dilation)]
        self.groups = layer.groups
        self.scales = (layer.weight.detach().flatten(1).abs().amax(1) / LARGEST_INT8).clamp(min=1e-12)
        levels = (layer.weight.detach() / self.scales.view(-1, 1, 1, 1)).round().to(torch.int8)
        self.zeros = torch.zeros(len(levels), dtype=torch.int32)
        self.packed = onednn.qconv_prepack(levels, self.scales, 1.0, 0, *self.places, self.groups, None)

    def forward(self, x: Tensor) -> Tensor:
        clock, tables = self.inputs.clock, (self.inputs.steps, self.inputs.zeros)
        step, zero = (float(clock.pick(cast(Tensor, table), x).flatten()[0]) for table in tables)
        levels = torch.quantize_per_tensor(x, step, int(zero), torch.quint8).int_repr()
        convolved: Tensor = onednn.qconv2d_pointwise(
            levels, step, int(zero), self.packed, self.scales, self.zeros, self.bias, *self.places, self.groups,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return convolved


def on_kernels(simulated: nn.Module) -> nn.Module:
    """A copy of a network that TDQ quantized to 8 bits, computed in whole numbers. Raises TypeError for another one."""
    made = copy.deepcopy(simulated)
    for name, part in [*made.named_modules()]:
        if isinstance(part, QuantizedLayer):
            replace(made, name, KernelConv(part))
    return made


def kernel_rows(folder: Path, rounds: int) -> Iterator[ReportRow]:
    """Rows of milliseconds and of ratios for each number of pictures at once, and how far the answers are from full
    precision's. folder: of the DDPM; none where it is not, or where torch has no oneDNN."""
    if not (folder / CONFIG).is_file() or not torch.backends.mkldnn.is_available():
        return
    model = PixelModel.load(folder)
    tdq = next(method for method in SIMULATED if method.id == "tdq_ptq")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.ao.quantization|quantize_per_tensor", UserWarning)
        simulated = tdq.apply(model.net, Recipe(8, 8, pixel_calls(model)))
        nets = {"fp32": model.net, "bf16": BF16.apply(model.net, Recipe(16, 16)), "tdq_int8": on_kernels(simulated)}
        for batch in BATCHES:
            x, t = model.noise(batch, 0), torch.full((batch,), MID_TIME)
            ways = {
                name: partial(_asked, net, x, t, torch.arange(batch) % len(model.classes)) for name, net in nets.items()
            }
            spent = interleave(ways, rounds)
            where = f"DDPM on pixels, {batch} at once, layer by layer"
            for name, one in spent.items():
                yield median_row(f"kernel_{name}_ms", [1e3 * seconds for seconds in one.seconds], "ms", where)
            for other in ("fp32", "bf16"):
                yield ratio_row(f"kernel_tdq_int8_over_{other}", spent["tdq_int8"].seconds, spent[other].seconds, where)
        answers = {name: way() for name, way in ways.items()}
        for name in ("bf16", "tdq_int8"):
            error = float((answers[name] - answers["fp32"]).square().mean())
            yield ReportRow(f"kernel_{name}_mse", error, "", "of the answer, to float32")


@torch.inference_mode()
def _asked(net: Callable[..., Tensor], x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    return net(x, t, labels)
